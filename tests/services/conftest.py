"""A real server for the tests of bad input; each ends with the same three looks."""

from collections.abc import Iterator

import pytest

from real import running_system, until
from services.bad_input import GOOD, JOBS, Server


@pytest.fixture(scope="module")
def running(shape: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has run a few jobs of each type."""
    with running_system(JOBS, tmp_path_factory.mktemp("bad-input")) as system:
        server = Server(system)
        for body in (GOOD, *[{"type": "keep", "payload": {"text": "a"}}] * 3):
            assert server.http.post("/jobs", json=body).status_code == 202
        until(lambda: server.http.get("/stats").json()["states"]["completed"] == 4)
        yield server
        assert system.alive, system.output[-3000:]
        assert "Traceback" not in system.output, system.output[-5000:]
        assert system.stop() == 0


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The server, for input that must leave nothing behind."""
    before, memory_mb = running.recorded, running.resident_mb
    yield running
    assert running.recorded == before, "something was recorded"
    assert running.resident_mb - memory_mb < 40, "it kept the memory"
    assert running.http.get("/jobs", timeout=3).status_code == 200
