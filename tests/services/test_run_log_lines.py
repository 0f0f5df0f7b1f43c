"""What is logged during a run says of which run it is; the job's own lines say of which trace."""

import json
import subprocess
import sys
from pathlib import Path

from real import RunningSystem, environment, running_system, until
from shapes import on_both_shapes

pytestmark = on_both_shapes

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CONTEXT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
HOSTILE = 'one\n{"event": "forged", "level": "error"}\r\n\u2028\u2029\x85\x1b[2J\x9b2Jtwo'

JOBS = """
import logging
import structlog
from observatory import JobContext, NonRetryable, Observatory

app = Observatory()

@app.job("async", queue="fast")
async def coroutine(text: str) -> None:
    structlog.contextvars.bind_contextvars(left_behind=True)
    logging.getLogger("mine").warning("a coroutine says %s", text)

@app.job("sync", queue="slow")
def function(text: str) -> None:
    given = {"job.id": "forged", "queue": "forged", "service.name": "forged", text: text}
    structlog.get_logger().warning("a thread says", **given)

@app.job("break")
def break_it(text: str) -> None:
    logging.getLogger("mine").exception(text, exc_info=ValueError(text))
    raise NonRetryable(text)

@app.job("say")
async def say(text: str, ctx: JobContext) -> None:
    ctx.log.info(text, detail=text)
"""


def run(system: RunningSystem, type: str, text: str, **headers: str) -> dict[str, object]:
    body = {"type": type, "payload": {"text": text}}
    answer = system.http.post("/jobs", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    path = f"/jobs/{answer.json()['jobId']}"
    return until(
        lambda: (
            job
            if (job := system.http.get(path).json())["state"] in ("completed", "failed")
            else None
        )
    )


def _printed(system: RunningSystem, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "observatory.interfaces.cli.main", *arguments]
    done = subprocess.run(
        [*command, "--url", system.url],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_lines_say_of_which_run_they_are_and_no_text_forges_one(tmp_path: Path) -> None:
    about = ("service.name", "trace_id", "job.id", "job.type", "job.attempt", "queue", "level")
    with running_system(JOBS, tmp_path, OBSERVATORY_LOG_LEVEL="warning") as system:
        coroutine = run(system, "async", HOSTILE, **CONTEXT)
        function = run(system, "sync", HOSTILE, **CONTEXT)
        broken = run(system, "break", HOSTILE)
        assert system.stop() == 0
        lines = [line for line in system.output.splitlines() if "event" in line or "orged" in line]

    # Of what goes on around the runs nothing is asked here.
    said = [one for one in map(json.loads, lines) if "job.id" in one or "orged" in str(one)]
    assert [[line.get(name) for name in about] for line in said] == [
        ["observatory", TRACE, coroutine["id"], "async", 1, "fast", "warning"],
        ["observatory", TRACE, function["id"], "sync", 1, "slow", "warning"],
        ["observatory", None, broken["id"], "break", 1, "default", "error"],
    ]
    assert said[0]["event"] == f"a coroutine says {HOSTILE}"
    assert said[1][HOSTILE] == HOSTILE
    assert said[2]["event"] == HOSTILE
    assert said[2]["exception"][0]["exc_value"] == HOSTILE
    assert all(line.isascii() and line.isprintable() for line in lines)


def test_the_lines_of_a_job_carry_attempt_and_trace(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path) as system:
        traced, untraced = run(system, "say", HOSTILE, **CONTEXT), run(system, "say", "plain")
        told = [
            system.http.get(f"/jobs/{job['id']}/logs").json()["items"] for job in (traced, untraced)
        ]

        shown = {
            verb: _printed(system, "jobs", verb, str(traced["id"])) for verb in ("logs", "show")
        }

    (first, *more) = shown["logs"]
    assert first.endswith("#1 info    one")
    assert more == [
        '    | {"event": "forged", "level": "error"}\\r',
        "    | \\u2028\\u2029\\x85\\x1b[2J\\x9b2Jtwo detail=one",
        '    | {"event": "forged", "level": "error"}\\r',
        "    | \\u2028\\u2029\\x85\\x1b[2J\\x9b2Jtwo",
    ]
    assert f"trace        {TRACE}" in shown["show"]

    (line,), (plain,) = told
    assert (line["message"], line["fields"]) == (HOSTILE, {"detail": HOSTILE})
    assert (line["attempt"], line["traceId"], traced["traceId"]) == (1, TRACE, TRACE)
    assert (plain["traceId"], untraced["traceId"]) == (None, None)
