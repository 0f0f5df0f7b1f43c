"""The gateway's HTTP interface; its contract is contracts/openapi/gateway.v1.json."""

import re
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from observatory.asgi.body import media_type, read_body
from observatory.asgi.parameters import Parameters
from observatory.asgi.paths import JOB_PATH, QUEUE_PATH
from observatory.asgi.problem import problem_document
from observatory.asgi.routes import ScopedRoute
from observatory.core.contracts import Contract
from observatory.core.errors import (
    InvalidParameter,
    PayloadTooLarge,
    Problem,
    ValidationFailed,
)
from observatory.core.event import event_id
from observatory.core.instant import optional_rfc3339
from observatory.core.job import Submission
from observatory.core.lifecycle import State
from observatory.core.store import Accepted, KeyReused, Store
from observatory.core.strict_json import decode, decode_items
from observatory.core.trace_context import read_trace_context
from observatory.runtime.dispatch import Dispatcher
from observatory.services.gateway.accept import Acceptor, refusal
from observatory.services.gateway.actions import Operator
from observatory.services.gateway.bulk import Action, Bulk, read_selection
from observatory.services.gateway.canary import Canary
from observatory.services.gateway.queues import Queues
from observatory.services.gateway.submission import HTTP, Context, JobTypes, Reader
from observatory.settings import Settings

_JSON: Final = "application/json"
_NDJSON: Final = "application/x-ndjson"
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}\Z")


class Gateway:
    """The routes of the write interface."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        documents: Mapping[str, Any],
        settings: Settings,
    ) -> None:
        self._settings = settings
        self._reader = Reader(
            documents,
            JobTypes(store, settings.allow_unknown_types),
            Queues(store, settings.queues_max),
        )
        self._acceptor = Acceptor(store, dispatcher)
        self.canary = Canary(store, self._acceptor, settings.canary_seconds)
        self._operator = Operator(store, dispatcher, self._acceptor, self._reader)
        self._cancel_contract = Contract(documents[f"{HTTP}cancel-request.v1.json"], documents)
        self._retry_contract = Contract(documents[f"{HTTP}retry-request.v1.json"], documents)
        self._action_contract = Contract(documents[f"{HTTP}job-action.v1.json"], documents)
        self._bulk = Bulk(store, self._operator)

    def routes(self) -> list[ScopedRoute]:
        """The routes, without health and metrics."""
        return [
            ScopedRoute(path, endpoint, method="POST", scopes=(scope,))
            for path, endpoint, scope in (
                ("/jobs", self.submit, "submit"),
                ("/jobs/batch", self.submit_batch, "submit"),
                ("/jobs/actions", self.act_on_jobs, "operate"),
                (f"{JOB_PATH}/cancel", self.cancel, "operate"),
                (f"{JOB_PATH}/retry", self.retry, "operate"),
                (f"{QUEUE_PATH}/pause", self.pause, "operate"),
                (f"{QUEUE_PATH}/resume", self.resume, "operate"),
            )
        ]

    async def submit(self, request: Request) -> Response:
        """``POST /jobs``."""
        Parameters(request, ())
        media_type(request, _JSON)
        self._acceptor.admit()
        body = decode(await read_body(request, self._settings.body_bytes_max))
        key = _idempotency_key(request)
        submission = await self._reader.single(body, _context(request), key)
        (result,) = await self._acceptor.accept([submission])
        if isinstance(result, KeyReused):
            raise refusal(result)
        headers = {"Location": f"/jobs/{result.job_id}"}
        if result.replayed:
            headers["Idempotent-Replayed"] = "true"
        return _accepted(result.job_id, event_id(result.job_id, 1), headers)

    async def submit_batch(self, request: Request) -> Response:
        """``POST /jobs/batch``."""
        Parameters(request, ())
        if "idempotency-key" in request.headers:
            # Ignored it would promise what it does not keep: a repeat would make every job again.
            raise InvalidParameter(
                "Idempotency-Key is for a single job; in a batch put idempotencyKey on each item"
            )
        kind = media_type(request, _JSON, _NDJSON)
        self._acceptor.admit()
        body = await read_body(request, self._settings.batch_bytes_max)
        items = _lines(body) if kind == _NDJSON else decode_items(body)
        limit = self._settings.batch_jobs_max
        if items is None or not 1 <= len(items) <= limit:
            raise ValidationFailed(f"a batch is an array of 1 to {limit} jobs")
        context = _context(request)
        read = [await self._read_item(item, context) for item in items]
        submissions = [item for item in read if isinstance(item, Submission)]
        results = iter(await self._acceptor.accept(submissions) if submissions else [])
        outcomes = [
            _outcome(index, next(results) if isinstance(item, Submission) else item)
            for index, item in enumerate(read)
        ]
        accepted = sum(outcome["status"] == 202 for outcome in outcomes)
        answer = {
            "accepted": accepted,
            "refused": len(outcomes) - accepted,
            "items": outcomes,
        }
        return _json(answer, 202 if accepted == len(outcomes) else 207)

    async def _read_item(self, item: bytes, context: Context) -> Submission | Problem:
        limit = self._settings.body_bytes_max
        try:
            if len(item) > limit:
                # A batch must not be the way round the limit that a job has alone.
                raise PayloadTooLarge(f"the item has {len(item)} bytes; at most {limit} are read")
            return await self._reader.item(decode(item, "the item"), context)
        except Problem as problem:
            if problem.status >= 500:
                raise
            return problem

    async def cancel(self, request: Request) -> Response:
        """``POST /jobs/{id}/cancel``."""
        Parameters(request, ())
        job_id = request.path_params["job_id"]
        body = await self._action_body(request, self._cancel_contract)
        done = await self._operator.cancel(job_id, body.get("reason"))
        cancelled = done.state is State.CANCELLED
        answer = {
            "jobId": job_id,
            "state": done.state,
            "eventId": event_id(job_id, done.version) if cancelled else None,
            "cancelRequestedAt": optional_rfc3339(done.requested_at),
        }
        return _json(answer, 202)

    async def retry(self, request: Request) -> Response:
        """``POST /jobs/{id}/retry``."""
        Parameters(request, ())
        job_id = request.path_params["job_id"]
        body = await self._action_body(request, self._retry_contract)
        version = 1
        if "payload" in body:
            job_id = await self._operator.retry_with(job_id, body["payload"], _context(request))
        else:
            version = await self._operator.retry(job_id)
        return _accepted(job_id, event_id(job_id, version), {"Location": f"/jobs/{job_id}"})

    async def act_on_jobs(self, request: Request) -> Response:
        """``POST /jobs/actions``."""
        Parameters(request, ())
        media_type(request, _JSON)
        body = decode(await read_body(request, self._settings.body_bytes_max))
        self._action_contract.check(body, "the body")
        action, dry = Action(body["action"]), body.get("dryRun", False)
        selection = read_selection(action, body)
        before = body["cursor"].lower() if "cursor" in body else None
        if dry:
            done = await self._bulk.count(selection, before)
        else:
            self._acceptor.admit()
            by: str = request.scope["observatory.principal"]
            done = await self._bulk.act(action, selection, before, body.get("reason"), by)
        answer = {
            "action": action,
            "dryRun": dry,
            "matched": done.matched,
            "changed": done.changed,
            "skipped": done.skipped,
            "complete": done.complete,
            "next": done.next,
        }
        return _json(answer, 200)

    async def pause(self, request: Request) -> Response:
        """``POST /queues/{queue}/pause``."""
        return await self._pause(request, paused=True)

    async def resume(self, request: Request) -> Response:
        """``POST /queues/{queue}/resume``."""
        return await self._pause(request, paused=False)

    async def _pause(self, request: Request, *, paused: bool) -> Response:
        Parameters(request, ())
        queue = request.path_params["queue"]
        await self._operator.pause(queue, paused, request.scope["observatory.principal"])
        return _json({"queue": queue, "paused": paused}, 200)

    async def _action_body(self, request: Request, contract: Contract) -> dict[str, Any]:
        raw = await read_body(request, self._settings.body_bytes_max)
        if not raw:
            return {}
        media_type(request, _JSON)
        body = decode(raw)
        contract.check(body, "the body")
        return body


def _context(request: Request) -> Context:
    headers = request.headers
    trace = read_trace_context(headers.get("traceparent"), headers.get("tracestate"))
    return Context(
        correlation_id=request.scope["observatory.correlation_id"],
        principal=request.scope["observatory.principal"],
        traceparent=trace.traceparent,
        tracestate=trace.tracestate,
        began=time.monotonic(),
    )


def _idempotency_key(request: Request) -> str | None:
    values = request.headers.getlist("idempotency-key")
    if not values:
        return None
    key = values[0]
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]  # the draft's structured string; the bare form is as common
    if len(values) > 1 or not _IDEMPOTENCY_KEY.match(key) or key.startswith('"'):
        raise InvalidParameter("Idempotency-Key must be one value of 1 to 255 visible characters")
    return key


def _lines(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if line.strip()]


def _outcome(index: int, item: Accepted | KeyReused | Problem) -> dict[str, Any]:
    if isinstance(item, KeyReused):
        item = refusal(item)
    if isinstance(item, Problem):
        return {
            "index": index,
            "status": item.status,
            "jobId": None,
            "eventId": None,
            "replayed": False,
            "problem": problem_document(item, f"/jobs/batch#/{index}", None),
        }
    return {
        "index": index,
        "status": 202,
        "jobId": item.job_id,
        "eventId": event_id(item.job_id, 1),
        "replayed": item.replayed,
        "problem": None,
    }


def _accepted(job_id: str, event: str, headers: dict[str, str]) -> Response:
    return _json({"jobId": job_id, "eventId": event}, 202, headers)


def _json(value: Any, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, _JSON)
