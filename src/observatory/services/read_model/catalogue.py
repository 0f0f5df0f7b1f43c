"""The catalogue of contracts: every schema of the system and of the registered job types."""

from collections.abc import Mapping
from typing import Any

from observatory.core.contract_references import CONTRACTS_URI
from observatory.core.errors import NotFound
from observatory.core.job_type import JobType


class Catalogue:
    """Lists and finds contracts."""

    def __init__(self, documents: Mapping[str, Any]) -> None:
        self._documents = {
            uri.removeprefix(CONTRACTS_URI): document for uri, document in documents.items()
        }

    def items(self, job_types: list[JobType]) -> list[dict[str, Any]]:
        """Every contract, in short."""
        schemas = [
            {
                "name": path,
                "kind": "schema",
                "version": str(document.get("x-version", "1.0.0")),
                "title": str(document.get("title", path))[:200],
                "href": f"/contracts/{path}",
            }
            for path, document in sorted(self._documents.items())
        ]
        types = [
            {
                "name": t.name,
                "kind": "jobType",
                "version": str(t.version),
                "title": (t.description or t.name).partition("\n")[0][:200],
                "href": f"/contracts/job-types/{t.name}/{t.version}.json",
            }
            for t in job_types
        ]
        return schemas + types

    def find(self, path: str, job_types: list[JobType]) -> dict[str, Any]:
        """One contract.

        Raises:
            NotFound: there is none of this path.
        """
        if (document := self._documents.get(path)) is not None:
            return document
        for t in job_types:
            if path == f"job-types/{t.name}/{t.version}.json":
                return t.contract
        raise NotFound(f"there is no contract {path[:200]}; GET /contracts lists them")
