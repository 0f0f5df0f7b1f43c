"""Every operation, written once for both clients.

An operation is a generator that yields requests and is sent what came back (`Steps`). The clients
only carry requests; they decide nothing.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final, Literal
from urllib.parse import quote

import httpx
import msgspec
import uuid_utils

from observatory.client.errors import (
    Interrupted,
    Refused,
    Unavailable,
    Unreachable,
    Unsendable,
    WaitTimeout,
)
from observatory.client.payload import encoded
from observatory.client.records import Job, JobFilter, Json, Submission, SubmitOptions
from observatory.client.requests import Request, Steps, body_of, exchange

Action = Literal["cancel", "retry"]
"""What is done to every job of a filter."""

BATCH_ITEMS: Final = 500
"""Jobs in one request; the gateway takes 1,000, larger batches gain nothing measurable."""

BATCH_BYTES: Final = 1_000_000
"""Bytes in one batch request, unless a single job is larger; keeps below the body limit."""

_STRETCH_S: Final = 120.0
"""How long 500 jobs may take to be changed."""

LONGEST_POLL_S: Final = 60
"""The longest `Prefer: wait=N` the read model honours."""


def _time_text(when: datetime | str) -> str:
    if isinstance(when, str):
        return when
    if when.tzinfo is None:
        raise ValueError("a time must name its offset; use datetime.now(timezone.utc)")
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _submission_body(job: Submission) -> Json:
    options = job.options
    body = {
        "type": job.type,
        "payload": dict(job.payload),
        "queue": options.queue,
        "priority": options.priority,
        "delaySeconds": options.delay,
        "scheduledAt": options.scheduled_at and _time_text(options.scheduled_at),
        "maxAttempts": options.max_attempts,
        "timeoutSeconds": options.timeout,
        "correlationId": options.correlation_id,
        "parentId": options.parent_id,
        "contractVersion": options.contract_version,
    }
    return {name: value for name, value in body.items() if value is not None}


def _key(options: SubmitOptions) -> str:
    key = options.idempotency_key or str(uuid_utils.uuid7())
    if not (key.isascii() and key.isprintable()):
        raise Unsendable(f"an idempotency key has visible ASCII characters only, not {key!a}")
    return key


def _keyed(job: Submission) -> Submission:
    options = msgspec.structs.replace(job.options, idempotency_key=_key(job.options))
    return msgspec.structs.replace(job, options=options)


_JSON: Final = {"content-type": "application/json"}


class Operations:
    """Every operation as steps. Holds the settings they share."""

    def __init__(self, patience_s: float, reads_within_s: float | None = None) -> None:
        self._patience_s = patience_s
        self._reads_within_s = reads_within_s
        self.until: float | None = None
        """By the monotonic clock: whatever is asked is given up then, or after a second."""

    def exchange(self, request: Request) -> Steps[httpx.Response]:
        """One request, repeated as its rules allow."""
        if self.until is not None:
            timeout_s = min(request.timeout_s, max(1.0, self.until - time.monotonic()))
            request = replace(request, timeout_s=timeout_s, again_after_silence=False)
        return exchange(request, self._patience_s)

    def read(self, path: str, params: Mapping[str, str] | None = None) -> Steps[Any]:
        """GET, decoded."""
        request = Request("GET", path, params=params or {})
        if self._reads_within_s is not None:
            request = replace(request, timeout_s=self._reads_within_s, again_after_silence=False)
        return body_of((yield from self.exchange(request)))

    def submit(self, job: Submission) -> Steps[str]:
        """POST /jobs; the job's id."""
        content = encoded(_submission_body(job))
        key = _key(job.options)
        headers = {**_JSON, "idempotency-key": key}
        request = Request("POST", "/jobs", headers=headers, content=content)
        try:
            return str(body_of((yield from self.exchange(request)))["jobId"])
        except (Unreachable, Unavailable) as error:
            error.idempotency_key = key
            raise

    def submit_many(self, jobs: Iterable[Submission]) -> Steps[list[str | Refused]]:
        """POST /jobs/batch as often as needed; each job's id or refusal.

        Raises:
            Interrupted: nothing answered, or no longer, or the system could not.
        """
        answers: list[str | Refused] = []
        chunks = _chunks(_keyed(job) for job in jobs)
        for chunk in chunks:
            try:
                answers += yield from self._submit_chunk([item for _, item in chunk])
            except (Unreachable, Unavailable) as error:
                rest = (job for part in chain([chunk], chunks) for job, _ in part)
                raise Interrupted(str(error), answers, rest) from error
        return answers

    def _submit_chunk(self, chunk: list[bytes]) -> Steps[list[str | Refused]]:
        try:
            items = yield from self.submit_items(chunk)
        except Unavailable:
            raise  # says nothing of these jobs; some may have been taken
        except Refused as refusal:
            return [refusal] * len(chunk)
        return [_batch_item(item) for item in items]

    def submit_items(self, items: Sequence[bytes]) -> Steps[list[Json]]:
        """POST /jobs/batch, once: the outcome of each item, in the given order.

        Args:
            items: each a batch item as JSON. It is sent again where nothing answers, so each must
                have its idempotency key.

        Raises:
            Refused: the batch as a whole was.
        """
        content = b"[" + b",".join(items) + b"]"
        request = Request("POST", "/jobs/batch", headers=_JSON, content=content)
        response = yield from self.exchange(request)
        return sorted(body_of(response)["items"], key=lambda item: item["index"])

    def job(self, job_id: str) -> Steps[Job]:
        """GET /jobs/{id}."""
        return msgspec.convert((yield from self.read(job_path(job_id))), Job)

    def page(self, path: str, params: Mapping[str, str]) -> Steps[tuple[list[Json], str | None]]:
        """One page of a list, and the cursor of the next."""
        body = yield from self.read(path, params)
        return body["items"], body.get("next")

    def command(self, job_id: str, verb: str, body: Json) -> Steps[Json]:
        """POST /jobs/{id}/cancel or /retry."""
        # Not repeatable: a second cancel or retry would be told 409 for what the first one did.
        path = f"{job_path(job_id)}/{verb}"
        content = encoded(body)
        request = Request("POST", path, headers=_JSON, content=content, repeatable=False)
        return body_of((yield from self.exchange(request)))

    def act_on_jobs(self, body: Json) -> Steps[Json]:
        """POST /jobs/actions, once."""
        # A count may be asked for again; jobs that fail again meanwhile would be run once more.
        repeatable = bool(body.get("dryRun"))
        content = encoded(body)
        request = Request(
            "POST",
            "/jobs/actions",
            headers=_JSON,
            content=content,
            repeatable=repeatable,
            timeout_s=_STRETCH_S,
        )
        return body_of((yield from self.exchange(request)))

    def set_paused(self, queue: str, paused: bool) -> Steps[Json]:
        """POST /queues/{queue}/pause or /resume; safe to repeat."""
        verb = "pause" if paused else "resume"
        path = f"/queues/{quote(queue, safe='', errors='replace')}/{verb}"
        return body_of((yield from self.exchange(Request("POST", path))))

    def wait(self, job_id: str, timeout_s: float | None) -> Steps[Job]:
        """Long polls until the job is terminal. A job is read at least once, also with 0."""
        deadline = time.monotonic() + (float("inf") if timeout_s is None else timeout_s)
        pause_s = 0.0
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            poll_s = int(min(LONGEST_POLL_S, left_s))
            request = Request(
                "GET",
                job_path(job_id),
                headers={"prefer": f"wait={poll_s}"} if poll_s else {},
                timeout_s=poll_s + 30.0,
                pause_s=min(pause_s, left_s),
            )
            response = yield from self.exchange(request)
            job = msgspec.convert(body_of(response), Job)
            if job.finished:
                return job
            if time.monotonic() >= deadline:
                raise WaitTimeout(f"job {job_id} is still {job.state} after {timeout_s:g} s")
            # A server that does not wait (a proxy took the header) must not be asked in a spin.
            pause_s = 0.0 if "preference-applied" in response.headers else 0.2


def job_path(job_id: str) -> str:
    """The path of a job, whatever its id may hold."""
    # An id with a slash or a question mark would name another route.
    return "/jobs/" + quote(job_id, safe="", errors="replace")


def _chunks(jobs: Iterable[Submission]) -> Iterator[list[tuple[Submission, bytes]]]:
    chunk: list[tuple[Submission, bytes]] = []
    size = 0
    for job in jobs:
        key = job.options.idempotency_key
        item = encoded({**_submission_body(job), "idempotencyKey": key})
        if chunk and (len(chunk) == BATCH_ITEMS or size + len(item) > BATCH_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((job, item))
        size += len(item)
    if chunk:
        yield chunk


def _batch_item(item: Json) -> str | Refused:
    problem = item.get("problem")
    if problem is None:
        return str(item["jobId"])
    return Refused(problem, status=int(item["status"]))


def job_params(limit: int, filters: JobFilter) -> dict[str, str]:
    """Query parameters of GET /jobs."""
    params = {"limit": str(limit)}
    for name, value in filters.items():
        wire_name = {"correlation_id": "correlationId", "parent_id": "parentId"}.get(name, name)
        if isinstance(value, str | datetime):
            params[wire_name] = _time_text(value)
        elif isinstance(value, Sequence):
            params[wire_name] = ",".join(str(one) for one in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - a TypedDict's values are objects
    return params


def retry_body(payload: Mapping[str, Any] | None) -> Json:
    """Body of POST /jobs/{id}/retry."""
    return {} if payload is None else {"payload": dict(payload)}


def cancel_body(reason: str | None) -> Json:
    """Body of POST /jobs/{id}/cancel."""
    return {} if reason is None else {"reason": reason}


def action_body(
    action: Action,
    filters: JobFilter,
    *,
    dry_run: bool = False,
    cursor: str | None = None,
    reason: str | None = None,
) -> Json:
    """Body of POST /jobs/actions.

    Raises:
        ValueError: a filter is empty.
    """
    empty = [name for name, value in filters.items() if value is None or value == ""]
    if empty:
        # Left out it would mean every job.
        raise ValueError(f"{', '.join(empty)}: an empty filter would leave every job")
    members: Json = dict(job_params(1, filters))
    del members["limit"]
    if "state" in members:
        members["state"] = members["state"].split(",")
    body: Json = {"action": action, "filter": members, "dryRun": dry_run}
    more = {"cursor": cursor, "reason": reason}
    return body | {name: value for name, value in more.items() if value is not None}


def submission(
    type: str,
    payload: Mapping[str, Any] | None,
    options: SubmitOptions | None,
    fields: Mapping[str, Any],
) -> Submission:
    """The job of a call to `submit`: `fields` laid over `payload`.

    Raises:
        TypeError: `options` are none; most likely they were meant for the payload.
    """
    if options is not None and not isinstance(options, SubmitOptions):  # pyright: ignore[reportUnnecessaryIsInstance] - callers need not be checked
        raise TypeError(
            "options say how the job is to be run and are SubmitOptions(…); a payload with a "
            f"member of that name is passed as a dict: submit({type!r}, {{'options': …}})"
        )
    return Submission(type, {**(payload or {}), **fields}, options or SubmitOptions())
