"""The gateway beside what others did wrong, and where it stands alone."""

from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from observatory import Observatory, Retry
from observatory.assembly.system import running
from observatory.core.job_type import JobType
from observatory.settings import Settings
from services.embedding import served
from shapes import on_both_shapes

pytestmark = [pytest.mark.anyio, on_both_shapes]

BAD = JobType(
    name="bad",
    version=1,
    queue="default",
    max_attempts=1,
    timeout_s=None,
    retry=Retry(),
    contract={"type": "nonsense"},
)


async def test_a_job_type_without_a_usable_contract_stops_no_other(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Observatory()

    @app.job("good")
    async def good() -> None: ...

    monkeypatch.setattr("observatory.services.gateway.submission._KNOWN_FOR_S", 0)
    with capture_logs() as said:
        async with served(app, tmp_path, empty_database) as system:
            await system.system.store.register_job_types([BAD])
            for _ in range(2):
                assert (await system.reached(await system.submit("good")))["state"] == "completed"
                answer = await system.http.post("/jobs", json={"type": "bad", "payload": {}})

    assert answer.status_code == 422
    problem = answer.json()
    assert problem["type"].endswith("/unknown-job-type")
    assert "registered with a contract that cannot be used" in problem["detail"]
    assert problem["errors"] == [{"pointer": "/type", "detail": "has no usable contract"}]
    assert [e["job_type"] for e in said if e["event"] == "job_type.unusable"] == ["bad"]


async def test_a_job_type_whose_contract_was_mended_is_taken(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("observatory.services.gateway.submission._KNOWN_FOR_S", 0)
    async with served(Observatory(), tmp_path, empty_database) as system:
        await system.system.store.register_job_types([BAD])
        body = {"type": "bad", "payload": {}}
        refused = await system.http.post("/jobs", json=body)
        mended = JobType(**{**{f: getattr(BAD, f) for f in BAD.__struct_fields__}, "contract": {}})
        await system.system.store.register_job_types([mended])
        taken = await system.http.post("/jobs", json=body)

    assert (refused.status_code, taken.status_code) == (422, 202)


async def test_what_another_service_answers_is_not_called_a_wrong_method(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<title>page</title>")
    async with running(Observatory(), Settings(data=tmp_path / "data"), page=page) as system:
        alone = httpx.ASGITransport(app=system.gateway_app)
        async with httpx.AsyncClient(transport=alone, base_url="http://127.0.0.1") as http:
            answers = [await http.get(path) for path in ("/", "/jobs", "/stats")]
            wrong = await http.put("/jobs")

    for answer in answers:
        assert answer.status_code == 404, answer.text
        assert answer.json()["detail"] == (
            f"{answer.request.url.path} is answered by another service of this system, "
            "not by this one; the edge leads each request to the right one"
        )
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, POST")
