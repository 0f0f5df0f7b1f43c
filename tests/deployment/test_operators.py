"""What only an operator understands is as the models of its custom resources say.

Of the RabbitmqCluster no package of npm or PyPI has a model: it is checked by nothing here.
"""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

from rendering import Document, of_kind, rendered
from test_manifests import OF_OPERATORS

CHECK: Final = Path(__file__).parent / "operators" / "check.mjs"
MODELLED: Final = sorted(OF_OPERATORS - {"RabbitmqCluster"})


def faults(documents: list[Document]) -> str:
    """What the models say against documents."""
    installed = CHECK.parent / "node_modules" / "@kubernetes-models"
    assert installed.exists(), f"the models are not installed: cd {CHECK.parent} && npm ci"
    done = subprocess.run(
        ["node", CHECK], input=json.dumps(documents), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_document_is_one_that_its_operator_takes() -> None:
    documents = of_kind(rendered("overlays/production"), *MODELLED)

    assert {one["kind"] for one in documents} == set(MODELLED)
    assert faults(documents) == ""


def test_a_field_that_its_operator_does_not_know_would_be_found() -> None:
    documents = [of_kind(rendered("overlays/production"), kind)[0] for kind in MODELLED]
    for document in documents:
        document["spec"]["replicass"] = 1

    # In one call, as each call reads the types anew.
    assert faults(documents).count("'\"replicass\"' does not exist") == len(MODELLED)


WRONG: Final[dict[str, tuple[tuple[Any, ...], Any]]] = {
    "Cluster": (("instances",), "three"),
    "HTTPRoute": (("rules", 0, "matches", 0, "method"), "FETCH"),
    "PrometheusRule": (("groups", 0, "rules", 0, "expr"), None),
    "ScaledObject": (("triggers",), None),
}


def test_a_value_that_its_operator_does_not_take_would_be_found() -> None:
    documents = [of_kind(rendered("overlays/production"), kind)[0] for kind in WRONG]
    for document in documents:
        path, value = WRONG[document["kind"]]
        inner: Any = document["spec"]
        for step in path[:-1]:
            inner = inner[step]
        if value is None:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value

    told = faults(documents)

    assert [kind for kind in WRONG if f"{kind}: data/spec" not in told] == []
