"""The Python client: against the real system, and against a fake only for what a real one never
does on demand (answers that get lost, a store that is away, nonsense)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import httpx
import pytest

from development.process import free_port
from observatory.client import (
    AsyncClient,
    Client,
    Conflict,
    Interrupted,
    JobFailed,
    JobHandle,
    NotEnded,
    NotFound,
    PositionLost,
    Refused,
    Submission,
    SubmitOptions,
    Unavailable,
    Unreachable,
    Unsendable,
    WaitTimeout,
    operations,
    requests,
)
from real import RunningSystem, running_system
from shapes import on_both_shapes

JOBS = """
import time
from observatory import JobContext, NonRetryable, Observatory

app = Observatory()

@app.job("double")
def double(n: int) -> int:
    return 2 * n

@app.job("break")
def break_it(why: str) -> None:
    raise NonRetryable(why)

@app.job("nap")
async def nap(seconds: float, ctx: JobContext) -> str:
    import asyncio
    await asyncio.sleep(seconds)
    return "rested"

@app.job("options")
def options(options: int, type: str) -> str:
    return f"{type} {options}"
"""


pytestmark = on_both_shapes


@pytest.fixture(scope="module")
def system(shape: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path_factory.mktemp("client")) as running:
        yield running


@pytest.fixture
def client(system: RunningSystem) -> Iterator[Client]:
    with Client(system.url) as made:
        yield made


# --------------------------------------------------------------------------- the real system


def test_a_job_is_submitted_waited_for_and_read(client: Client) -> None:
    job = client.submit("double", n=21)
    assert job.wait(timeout=10).state == "completed"
    assert job.result == 42
    assert job.job.payload == {"n": 21}
    assert client.job(job.id).result == 42


def test_state_is_read_when_it_is_first_asked_for(client: Client) -> None:
    assert client.submit("double", n=1).state in {"queued", "running", "completed"}


def test_payload_names_never_collide_with_options(client: Client) -> None:
    job = client.submit("options", {"options": 1, "type": "x"}, options=SubmitOptions())
    assert job.wait(10).result == "x 1"
    with pytest.raises(TypeError, match=r"submit\('options', \{'options': …\}\)"):
        client.submit("options", options={"a": 1}, type="x")  # type: ignore[arg-type]


def test_a_failed_job_raises_what_its_handler_raised(client: Client) -> None:
    job = client.submit("break", why="no such address").wait(10)
    with pytest.raises(JobFailed, match="no such address") as caught:
        _ = job.result
    assert caught.value.type.endswith("NonRetryable")
    assert "raise NonRetryable(why)" in (caught.value.traceback or "")


def test_waiting_ends_at_its_timeout_and_the_job_goes_on(client: Client) -> None:
    job = client.submit("nap", seconds=2.5)
    with pytest.raises(WaitTimeout, match="still"):
        job.wait(timeout=0.3)
    with pytest.raises(NotEnded, match="call wait"):
        _ = job.refresh().result
    assert job.wait(10).result == "rested"


def test_a_payload_that_breaks_its_contract_is_refused_with_pointers(client: Client) -> None:
    with pytest.raises(Refused, match="/payload/n") as caught:
        client.submit("double", n="two")
    assert caught.value.status == 422
    assert caught.value.slug == "validation-failed"


def test_an_unknown_type_and_an_unknown_job_are_told_apart(client: Client) -> None:
    with pytest.raises(Refused) as refused:
        client.submit("no.such.type")
    assert refused.value.slug == "unknown-job-type"
    with pytest.raises(NotFound):
        client.job("0197a3c2-6f2e-7c31-9a51-2d9f3c7e8b10")


def test_the_same_key_makes_one_job(client: Client) -> None:
    options = SubmitOptions(idempotency_key="order-7")
    first = client.submit("double", n=7, options=options)
    assert client.submit("double", n=7, options=options).id == first.id
    with pytest.raises(Refused) as caught:
        client.submit("double", n=8, options=options)
    assert caught.value.slug == "idempotency-key-reused"


def test_many_jobs_keep_their_order_and_refusals_stand_in_their_place(client: Client) -> None:
    wanted = [Submission("double", {"n": n}) for n in range(1203)]
    wanted[600] = Submission("double", {"n": "x"})
    wanted[602] = Submission("double", {"n": "\0"})
    answers = client.submit_many(wanted)
    refused = {n: one.slug for n, one in enumerate(answers) if isinstance(one, Refused)}
    assert refused == {600: "validation-failed", 602: "malformed-json"}
    handles = [one for one in answers if isinstance(one, JobHandle)]
    assert len({handle.id for handle in handles}) == 1201
    assert handles[-1].wait(30).result == 2404


def test_lists_are_read_to_their_end_page_by_page(client: Client) -> None:
    options = SubmitOptions(correlation_id="pages")
    for handle in client.submit_many([Submission("double", {"n": n}, options) for n in range(25)]):
        assert isinstance(handle, JobHandle)
        handle.wait(20)  # a job that changes its state meanwhile may be on no page or on two
    found = list(client.jobs(limit=10, correlation_id="pages", state=["failed", "completed"]))
    assert len(found) == len({job.id for job in found}) == 25
    assert not list(client.jobs(correlation_id="pages", state="running"))


def test_a_delayed_job_is_cancelled_and_run_again(client: Client) -> None:
    job = client.submit("double", n=3, options=SubmitOptions(delay=3600))
    assert job.state == "scheduled"
    assert job.cancel("not needed")["state"] == "cancelled"
    with pytest.raises(Conflict):
        job.cancel()
    with pytest.raises(JobFailed, match=r"was cancelled: \w"):
        _ = job.refresh().result
    again = job.retry()
    assert again.id == job.id
    assert again.wait(10).result == 6
    edited = again.retry({"n": 10})
    assert edited.id != job.id
    assert edited.wait(10).result == 20
    assert edited.job.parent_id == job.id


def test_stats_count_every_state(client: Client) -> None:
    client.submit("double", n=1).wait(10)
    states = client.stats()["states"]
    assert set(states) >= {"queued", "completed", "failed"}


def test_events_are_followed_over_a_kill_without_a_gap(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path) as system, Client(system.url, patience=30) as client:
        seen: set[tuple[str, str]] = set()
        positions: list[str] = []
        wanted = {client.submit("double", n=0).wait(10).id}
        start = list(client.events())[-1].position
        done = threading.Event()

        def follow() -> None:
            with Client(system.url, patience=30) as follower:
                for record in follower.events(after=start, follow=True, type="job.completed"):
                    assert record.position not in positions
                    positions.append(record.position)
                    # A kill between a commit and its confirm leaves an event in the log twice.
                    seen.add((record.event["subject"], record.event["id"]))
                    if len(seen) == 7:
                        break
            done.set()

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        wanted |= {client.submit("double", n=n).wait(10).id for n in range(3)}
        system.restart()
        wanted |= {client.submit("double", n=n).wait(10).id for n in range(3)}
        assert done.wait(20), seen
    assert {subject for subject, _ in seen} == wanted


def test_the_async_client_does_the_same(system: RunningSystem) -> None:
    async def use() -> None:
        async with AsyncClient(system.url) as client:
            job = await client.submit("double", n=4)
            assert (await job.wait(10)).result == 8
            assert (await client.job(job.id)).state == "completed"
            answers = await client.submit_many([Submission("double", {"n": 1})] * 3)
            assert len(answers) == 3
            listed = [one async for one in client.jobs(type="double", limit=2)]
            assert job.id in {one.id for one in listed}
            later = await client.submit("double", n=1, options=SubmitOptions(delay=3600))
            assert (await later.cancel())["state"] == "cancelled"
            assert (await (await later.retry()).wait(10)).result == 2
            assert (await client.stats())["states"]
            assert (await client.pause_queue("resting"))["paused"] is True
            assert (await client.resume_queue("resting"))["paused"] is False
            async for record in client.events(after="", follow=True):
                assert record.event["specversion"] == "1.0"
                break

    anyio.run(use)


def test_an_async_handle_says_that_it_was_not_read(system: RunningSystem) -> None:
    async def use() -> None:
        async with AsyncClient(system.url) as client:
            job = await client.submit("double", n=4)
            with pytest.raises(Exception, match="was not read yet"):
                _ = job.state

    anyio.run(use)


def test_a_submit_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path) as system, Client(system.url, patience=30) as client:
        system.kill()
        system.start(wait=False)
        assert client.submit("double", n=5).wait(20).result == 10


# ------------------------------------------------------------------------------------- fakes


Handler = Callable[[httpx.Request], httpx.Response]


def faked(handler: Handler, *, patience: float = 2.0) -> Client:
    return Client("http://fake", transport=httpx.MockTransport(handler), patience=patience)


ACCEPTED = {"jobId": "0197a3c2-6f2e-7c31-9a51-2d9f3c7e8b10", "eventId": "x"}


def test_a_lost_answer_is_asked_for_again_with_the_same_key() -> None:
    keys: list[str] = []

    def lose_two(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        if len(keys) < 3:
            raise httpx.ReadError("connection reset")
        return httpx.Response(202, json=ACCEPTED)

    assert faked(lose_two).submit("double", n=1).id == ACCEPTED["jobId"]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_every_item_of_a_batch_keeps_its_key_when_it_is_sent_again() -> None:
    bodies: list[list[dict[str, str]]] = []

    def lose_one(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        if len(bodies) == 1:
            raise httpx.RemoteProtocolError("server closed the connection")
        items = [
            {"index": i, "status": 202, "jobId": f"job-{i}", "problem": None}
            for i in range(len(bodies[-1]))
        ]
        return httpx.Response(202, json={"accepted": 2, "refused": 0, "items": items})

    faked(lose_one).submit_many([Submission("a"), Submission("a")])
    assert bodies[0] == bodies[1]
    assert bodies[0][0]["idempotencyKey"] != bodies[0][1]["idempotencyKey"]


def test_a_cancel_with_an_unknown_outcome_is_not_repeated() -> None:
    sent: list[str] = []

    def lose(request: httpx.Request) -> httpx.Response:
        sent.append(request.url.path)
        raise httpx.ReadTimeout("nothing came", request=request)

    with pytest.raises(Unreachable, match="does not answer"):
        faked(lose).cancel("j")
    assert sent == ["/jobs/j/cancel"]


def test_not_now_is_waited_out_as_the_server_says() -> None:
    statuses = iter([503, 503, 202])

    def busy(_: httpx.Request) -> httpx.Response:
        status = next(statuses)
        body = ACCEPTED if status == 202 else {"title": "Too much accepted work waits"}
        return httpx.Response(status, json=body, headers={"retry-after": "0"})

    assert faked(busy).submit("double").id == ACCEPTED["jobId"]


def test_patience_ends_with_the_reason() -> None:
    problem = {"title": "The store is not available", "detail": "disk full", "status": 503}

    def away(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503, json=problem)

    with pytest.raises(Refused, match="disk full"):
        faked(away, patience=0.2).submit("double")


@pytest.mark.parametrize("status", [500, 502, 503])
def test_jobs_the_system_could_not_answer_for_are_given_back_with_their_keys(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A 5xx says nothing of the jobs: they may have been taken."""
    monkeypatch.setattr(operations, "BATCH_ITEMS", 2)
    bodies: list[list[dict[str, str]]] = []

    def full_after_one(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        if len(bodies) == 2:
            problem = {"title": "Not available", "detail": "it is not known", "status": status}
            return httpx.Response(status, json=problem)
        items = [
            {"index": i, "status": 202, "jobId": f"job-{len(bodies)}-{i}", "problem": None}
            for i in range(len(bodies[-1]))
        ]
        return httpx.Response(202, json={"accepted": 2, "refused": 0, "items": items})

    client = faked(full_after_one, patience=0)
    with pytest.raises(Interrupted, match=r"it is not known.*2 of the jobs") as caught:
        client.submit_many(Submission("a", {"n": n}) for n in range(5))
    assert caught.value.answers == ["job-1-0", "job-1-1"]
    rest = list(caught.value.rest)
    assert [job.payload for job in rest] == [{"n": 2}, {"n": 3}, {"n": 4}]
    client.submit_many(rest)
    assert bodies[2] == bodies[1], "the same keys, so that no job is made twice"


@pytest.mark.parametrize("answers", [True, False])
def test_a_job_nobody_answered_for_is_told_with_its_key(answers: bool) -> None:
    sent: list[str] = []

    def away(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["idempotency-key"])
        if answers:
            return httpx.Response(503, json={"title": "Not available"})
        raise httpx.ReadError("connection reset", request=request)

    client = faked(away, patience=0)
    with pytest.raises((Unavailable, Unreachable)) as caught:
        client.submit("double", n=1)
    assert caught.value.idempotency_key == sent[0]
    with pytest.raises((Unavailable, Unreachable)) as caught:
        client.submit("double", n=1, options=SubmitOptions(idempotency_key="mine"))
    assert caught.value.idempotency_key == "mine"


def test_a_refused_chunk_refuses_each_of_its_jobs() -> None:
    def too_large(_: httpx.Request) -> httpx.Response:
        return httpx.Response(413, json={"title": "The body is too large"})

    answers = faked(too_large).submit_many([Submission("a"), Submission("b")])
    assert [isinstance(one, Refused) for one in answers] == [True, True]


def test_many_jobs_that_are_cut_off_tell_what_was_taken_and_what_to_submit_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operations, "BATCH_ITEMS", 2)
    bodies: list[list[dict[str, str]]] = []

    def dies_after_one(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        if len(bodies) in (2, 3):
            raise httpx.ReadError("connection reset")
        items = [
            {"index": i, "status": 202, "jobId": f"job-{len(bodies)}-{i}", "problem": None}
            for i in range(len(bodies[-1]))
        ]
        return httpx.Response(202, json={"accepted": 2, "refused": 0, "items": items})

    client = faked(dies_after_one, patience=0)
    with pytest.raises(Interrupted, match="2 of the jobs") as caught:
        client.submit_many(Submission("a", {"n": n}) for n in range(5))
    assert caught.value.answers == ["job-1-0", "job-1-1"]
    rest = list(caught.value.rest)
    assert [job.payload for job in rest] == [{"n": 2}, {"n": 3}, {"n": 4}]
    with pytest.raises(Interrupted):
        client.submit_many(rest)
    assert bodies[2] == bodies[1], "the same keys, so that no job is made twice"


def test_an_answer_that_took_long_uses_up_no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(requests.time, "monotonic", lambda: clock[0])
    sent = []

    def slow_then_reset(_: httpx.Request) -> httpx.Response:
        sent.append(1)
        if len(sent) == 1:
            clock[0] += 60.0
            raise httpx.ReadError("connection reset")
        return httpx.Response(202, json=ACCEPTED)

    assert faked(slow_then_reset, patience=10).submit("double").id == ACCEPTED["jobId"]
    assert len(sent) == 2


@pytest.mark.parametrize(
    ("error", "within", "sent"),
    [
        (httpx.ReadTimeout, 3.0, 1),
        (httpx.ReadTimeout, None, 2),
        (httpx.ConnectError, 3.0, 2),
    ],
)
def test_whoever_bounds_a_read_waits_for_silence_once(
    error: type[httpx.TransportError], within: float | None, sent: int
) -> None:
    asked: list[dict[str, float]] = []

    def silent(request: httpx.Request) -> httpx.Response:
        asked.append(request.extensions["timeout"])
        if len(asked) == 2:
            return httpx.Response(200, json={"items": []})
        raise error("timed out", request=request)

    carried = httpx.MockTransport(silent)
    with Client("http://fake", transport=carried, patience=2.0, reads_within=within) as client:
        if sent == 2:
            client.read("/alerts")
        else:
            with pytest.raises(Unreachable, match="does not answer"):
                client.read("/alerts")
    assert [one["read"] for one in asked] == [within or 30.0] * sent


def test_something_else_on_the_port_is_recognised() -> None:
    def other(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text="<html>router</html>")

    with pytest.raises(Unreachable, match="is it an observatory"):
        faked(other).stats()
    with pytest.raises(Refused, match="HTTP 502"):
        faked(lambda _: httpx.Response(502, text="<html>")).stats()


def test_a_lost_position_is_told() -> None:
    def reset(_: httpx.Request) -> httpx.Response:
        text = 'event: reset\ndata: {"reason": "pruned"}\n\n'
        return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})

    with pytest.raises(PositionLost):
        next(iter(faked(reset).events(after="1-0", follow=True)))


def test_a_server_that_ignores_prefer_is_not_asked_in_a_spin() -> None:
    asked: list[int] = []

    def impatient(_: httpx.Request) -> httpx.Response:
        asked.append(1)
        return httpx.Response(
            200, json={"id": "j", "type": "t", "queue": "default", "state": "running"}
        )

    with pytest.raises(WaitTimeout):
        JobHandle(faked(impatient), "j").wait(1.0)
    assert len(asked) <= 7


def test_an_id_cannot_name_another_route() -> None:
    paths: list[bytes] = []

    def note(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(404, json={"title": "There is nothing here"})

    with pytest.raises(NotFound):
        faked(note).job("x/cancel?a=b")
    assert paths == [b"/jobs/x%2Fcancel%3Fa%3Db"]


def test_nothing_there_is_said_in_one_line() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match="observatory up") as caught, Client(url, patience=0) as c:
        c.stats()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://", "http://x:99999"])
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="must look like"):
        Client(url)


@pytest.mark.parametrize("key", ["geheim\nx", "geheimé", "two words", "geheim\x7f"])
def test_a_key_that_cannot_be_sent_is_refused_at_once_and_never_shown(key: str) -> None:
    with pytest.raises(ValueError, match="the API key must be") as refusal:
        Client("http://127.0.0.1:1", key=key)
    assert "geheim" not in str(refusal.value)


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSERVATORY_URL", "http://from-the-environment")
    monkeypatch.setenv("OBSERVATORY_API_KEY", "secret")
    seen: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    Client(transport=httpx.MockTransport(note)).stats()
    assert seen[0].url.host == "from-the-environment"
    assert seen[0].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize("value", [float("nan"), [1.0, float("inf")], {"deep": -float("inf")}])
def test_numbers_that_json_has_not_are_refused_before_they_become_null(value: object) -> None:
    with pytest.raises(ValueError, match="JSON has no such number"):
        faked(lambda _: httpx.Response(202, json=ACCEPTED)).submit("double", n=value)


class NoJson:
    """A type that JSON has not."""


LOOP: list[object] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a\ud800", r"lone surrogate '\\ud800'.* \(at /payload/n\)"),
        ({"\udc00": 1}, r"lone surrogate '\\udc00'.* \(at /payload/n\)"),
        ([1, {"deep": "\ud800"}], r"\(at /payload/n/1/deep\)"),
        (2**63, r"64 bits.* \(at /payload/n\)"),
        (1j, r"complex is no type that JSON has \(at /payload/n\)"),
        (NoJson(), "cannot be sent as JSON.*NoJson"),
        (LOOP, "holds itself"),
    ],
)
def test_what_cannot_be_sent_is_told_with_its_place(value: object, said: str) -> None:
    client = faked(lambda _: httpx.Response(202, json=ACCEPTED))
    with pytest.raises(Unsendable, match=said):
        client.submit("double", n=value)
    with pytest.raises(Unsendable, match=said):
        client.submit_many([Submission("double", {"n": value})])


def test_an_idempotency_key_that_no_header_can_carry_is_told() -> None:
    client = faked(lambda _: httpx.Response(202, json=ACCEPTED))
    with pytest.raises(Unsendable, match="visible ASCII"):
        client.submit("double", n=1, options=SubmitOptions(idempotency_key="schlüssel"))


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (None, None),
        (True, True),
        (b"x", "eA=="),
        ({1: "a"}, {"1": "a"}),
        (["ü", "\U0001f600"], ["ü", "\U0001f600"]),
        (1.5, 1.5),
        (-(2**63), -(2**63)),
    ],
)
def test_what_can_be_sent_arrives_as_json_has_it(value: object, arrives: object) -> None:
    bodies: list[bytes] = []

    def handle(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return httpx.Response(202, json=ACCEPTED)

    faked(handle).submit("double", n=value)

    (body,) = bodies
    assert json.loads(body) == {"type": "double", "payload": {"n": arrives}}


def test_whatever_is_asked_is_given_up_in_the_time_that_is_set() -> None:
    asked: list[float] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.extensions["timeout"]["read"])
        raise httpx.ReadTimeout("timed out", request=request)

    with Client("http://x", patience=30, transport=httpx.MockTransport(handle)) as client:
        client.operations.until = time.monotonic() + 2.0
        for ask in (lambda: client.submit("double", {"n": 1}), lambda: client.read("/stats")):
            with pytest.raises(Unreachable):
                ask()
        client.operations.until = time.monotonic() - 2.0
        with pytest.raises(Unreachable):
            client.stats()
    assert asked == pytest.approx([2.0, 2.0, 1.0], abs=0.5), "once each, and no longer"
