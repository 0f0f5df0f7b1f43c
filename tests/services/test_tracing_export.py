"""Traces as a collector gets them: a real process, and a receiver of OTLP over HTTP of our own."""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from development.process import free_port
from real import RunningSystem, running_system, until
from shapes import on_both_shapes

JOBS = """
import asyncio
import logging
import sys

from observatory import JobContext, Observatory, Retry

app = Observatory()

@app.job("flaky", max_attempts=3, retry=Retry(base=0.05, jitter=False))
def flaky(ctx: JobContext) -> str:
    from opentelemetry import trace

    with trace.get_tracer("mine").start_as_current_span("inside"):
        logging.getLogger("mine").warning("at work")
    if ctx.attempt < 3:
        raise ValueError("not yet")
    return "done"

@app.job("hold", max_attempts=3, retry=Retry(base=0, jitter=False))
async def hold(ctx: JobContext) -> None:
    if ctx.attempt == 1:
        await asyncio.Event().wait()

@app.job("modules")
def modules() -> list[str]:
    return sorted(name for name in sys.modules if name.startswith(("opentelemetry", "google.")))
"""

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector:
    """Takes OTLP over HTTP, as a collector does."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                collector.headers.append(dict(self.headers.items()))
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def spans(self) -> list[Span]:
        found = [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return sorted(found, key=lambda span: span.start_time_unix_nano)

    @property
    def resource(self) -> dict[str, str]:
        (first, *_) = self.requests[0].resource_spans
        return {one.key: one.value.string_value for one in first.resource.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    started = Collector()
    started.start()
    yield started
    started.stop()


def submitted(system: RunningSystem, type: str) -> str:
    """The path of a job in the trace of its caller."""
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    answer = system.http.post("/jobs", json={"type": type}, headers=headers)
    assert answer.status_code == 202, answer.text
    return f"/jobs/{answer.json()['jobId']}"


def finished(system: RunningSystem, type: str) -> dict[str, Any]:
    path = submitted(system, type)
    return until(
        lambda: job if (job := system.http.get(path).json())["finishedAt"] is not None else None
    )


@on_both_shapes
def test_a_collector_gets_every_step_of_a_job_in_its_callers_trace(
    tmp_path: Path, collector: Collector
) -> None:
    with running_system(
        JOBS,
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_EXPORTER_OTLP_HEADERS="x-team=jobs",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
        NO_PROXY="127.0.0.1",
    ) as system:
        job = finished(system, "flaky")
        assert system.stop() == 0  # which sends what is left
        lines = [json.loads(x) for x in system.output.splitlines() if "at work" in x]

    spans = collector.spans
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    names = [span.name for span in spans]
    assert names[:2] == ["POST /jobs", "publish default"]
    per_attempt = {"queue wait": 3, "process flaky": 3, "inside": 3, "finish default": 3}
    assert {name: names.count(name) for name in names[2:]} == per_attempt
    assert (job["state"], job["attempt"], job["traceId"]) == ("completed", 3, TRACE)
    assert spans[0].parent_span_id.hex() == "00f067aa0ba902b7"
    process = [span for span in spans if span.name == "process flaky"]
    inside = [span for span in spans if span.name == "inside"]
    assert [span.parent_span_id for span in inside] == [span.span_id for span in process]
    assert [span.links[0].span_id for span in process] == [spans[1].span_id] * 3

    assert collector.resource["service.name"] == "observatory"
    assert collector.resource["service.version"]
    assert collector.resource["deployment.environment.name"] == "test"
    assert {headers["x-team"] for headers in collector.headers} == {"jobs"}
    assert [(line["trace_id"], line["span_id"], line["job.attempt"]) for line in lines] == [
        (TRACE, span.span_id.hex(), attempt) for attempt, span in enumerate(inside, 1)
    ]


def test_an_attempt_whose_worker_died_is_told_by_who_found_out(
    tmp_path: Path, collector: Collector
) -> None:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "NO_PROXY": "127.0.0.1"}
    with running_system(JOBS, tmp_path, **settings) as system:
        job = submitted(system, "hold")
        until(lambda: system.http.get(job).json()["state"] == "running")
        died_before = time.time_ns()
        system.restart()
        until(lambda: system.http.get(job).json()["state"] == "completed")
        attempts = system.http.get(f"{job}/attempts").json()["items"]
        assert system.stop() == 0

    lost, second = [span for span in collector.spans if span.name == "process hold"]
    assert [attempt["outcome"] for attempt in attempts] == ["lost", "completed"]
    assert lost.end_time_unix_nano < died_before
    for span, outcome in ((lost, "lost"), (second, "completed")):
        told = {one.key: one.value.string_value for one in span.attributes}
        assert told["observatory.job.outcome"] == outcome
        assert span.trace_id.hex() == TRACE
        assert span.parent_span_id == span.links[0].span_id


def test_where_nothing_asks_for_traces_nothing_of_them_is_loaded(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path, OTEL_SERVICE_NAME="mine") as system:
        job = finished(system, "modules")

    assert job["result"] == []
    assert job["traceId"] == TRACE, "the caller's trace is kept all the same"


def test_a_collector_that_is_away_holds_up_neither_jobs_nor_the_end(tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": away, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with running_system(JOBS, tmp_path, NO_PROXY="127.0.0.1", **settings) as system:
        assert finished(system, "flaky")["state"] == "completed"
        began = time.monotonic()
        assert system.stop() == 0
        assert time.monotonic() - began < 10


def test_a_process_that_cannot_trace_as_it_is_told_to_does_not_start(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path, start=False, OTEL_TRACES_EXPORTER="zipkin") as system:
        system.start(wait=False)
        assert system.wait_until_ended() == 2
        assert "observatory[otel]" in system.output
