"""From what was sent to a submission that may be recorded: contracts first, then policy."""

import asyncio
import contextvars
import hashlib
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog
import uuid_utils

from observatory.core.contract_references import CONTRACTS_URI
from observatory.core.contracts import Contract
from observatory.core.errors import ConfigurationError, Fault, UnknownJobType, ValidationFailed
from observatory.core.instant import MICROSECONDS, from_rfc3339
from observatory.core.job import Job, Submission
from observatory.core.job_type import DEFAULT_MAX_ATTEMPTS, DEFAULT_QUEUE, JobType, Retry
from observatory.core.store import StoreReads
from observatory.services.gateway.queues import Queues

_log = structlog.get_logger(__name__)

_KNOWN_FOR_S: Final = 1.0
"""How long the registered job types are remembered. For a name that is not among them they are
read again, once a request: what was registered before the request began is then known."""

HTTP: Final = f"{CONTRACTS_URI}http/"
"""Base of the contracts of bodies."""

_NAMES_SHOWN: Final = 10
_REASON_CHARS_MAX: Final = 300

_encode = msgspec.json.Encoder(order="sorted").encode


class JobTypes:
    """The registered job types with their compiled contracts."""

    def __init__(self, store: StoreReads, allow_unknown: bool) -> None:
        self._store = store
        self._allow_unknown = allow_unknown
        self._known: dict[str, tuple[JobType, Contract]] = {}
        self._unusable: dict[str, tuple[JobType, str]] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def find(self, name: str, began: float) -> tuple[JobType, Contract | None]:
        """A job type and its contract.

        Args:
            name: of the job type.
            began: when the request did, on the monotonic clock.

        Raises:
            UnknownJobType: nobody registered it, and the setting does not allow that; or it was
                registered with a contract that cannot be used.
        """
        await self._read_since(time.monotonic() - _KNOWN_FOR_S)
        if name not in self._known:
            await self._read_since(began)
        if (found := self._known.get(name)) is not None:
            return found
        if (unusable := self._unusable.get(name)) is not None:
            raise UnknownJobType(
                f"the job type {name!r} is registered with a contract that cannot be used: "
                f"{unusable[1]}; mend it where it is defined, and start its processor again",
                faults=(Fault("/type", "has no usable contract"),),
            )
        if self._allow_unknown:
            return _unregistered(name), None
        known = ", ".join(sorted(self._known)[:_NAMES_SHOWN])
        if (more := len(self._known) - _NAMES_SHOWN) > 0:
            known += f" and {more} more (GET /contracts lists them)"
        hint = f"known are {known}" if known else "none is registered; start a processor"
        raise UnknownJobType(
            f"no processor has registered the job type {name!r}; {hint}",
            faults=(Fault("/type", "is not a registered job type"),),
        )

    async def _read_since(self, instant: float) -> None:
        # One reading serves all who wait. It counts from its beginning: what is registered while
        # it goes on may not be in it.
        while self._read_at < instant:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(
                    self._refresh(), name="job types", context=contextvars.Context()
                )
                self._reading.add_done_callback(_seen)
            await asyncio.shield(self._reading)

    async def _refresh(self) -> None:
        began = time.monotonic()
        known: dict[str, tuple[JobType, Contract]] = {}
        unusable: dict[str, tuple[JobType, str]] = {}
        for job_type in await self._store.job_types():
            name = job_type.name
            if (old := self._known.get(name)) is not None and old[0] == job_type:
                known[name] = old
            elif (bad := self._unusable.get(name)) is not None and bad[0] == job_type:
                unusable[name] = bad
            else:
                # One type's contract, kept by an older release, must not stop the other types.
                try:
                    known[name] = (job_type, Contract(job_type.contract))
                except ConfigurationError as error:
                    _log.error("job_type.unusable", job_type=name, error=str(error))
                    unusable[name] = (job_type, str(error)[:_REASON_CHARS_MAX])
        self._known, self._unusable = known, unusable
        self._read_at = began


def _seen(reading: "asyncio.Task[None]") -> None:
    if not reading.cancelled():
        reading.exception()  # callers that went away are no reason to complain


def _unregistered(name: str) -> JobType:
    return JobType(
        name=name,
        version=1,
        queue=DEFAULT_QUEUE,
        max_attempts=DEFAULT_MAX_ATTEMPTS,
        timeout_s=None,
        retry=Retry(),
        contract={},
    )


class Context(msgspec.Struct, frozen=True):
    """What a request says about all of its submissions."""

    correlation_id: str
    principal: str
    traceparent: str | None
    tracestate: str | None
    began: float
    """On the monotonic clock."""


class Reader:
    """Makes submissions of bodies."""

    def __init__(self, documents: Mapping[str, Any], job_types: JobTypes, queues: Queues) -> None:
        self._job_types = job_types
        self._queues = queues
        self._single = Contract(documents[f"{HTTP}job-submission.v1.json"], documents)
        self._item = Contract(documents[f"{HTTP}batch-item.v1.json"], documents)

    async def single(self, body: Any, context: Context, key: str | None) -> Submission:
        """The submission of a ``POST /jobs`` body; `key` is the Idempotency-Key header.

        Raises:
            ValidationFailed: with a pointer to each fault.
            UnknownJobType: the type is not registered.
            TooManyQueues: there are as many queues as may be.
        """
        self._single.check(body, "the job")
        return await self._submission(body, context, key)

    async def item(self, body: Any, context: Context) -> Submission:
        """The submission of one item of a batch; raises like `single`."""
        self._item.check(body, "the item")
        return await self._submission(body, context, body.get("idempotencyKey"))

    async def _submission(
        self, body: dict[str, Any], context: Context, key: str | None
    ) -> Submission:
        job_type, contract = await self._job_types.find(body["type"], context.began)
        payload = body.get("payload", {})
        _check_version(body, job_type)
        if contract is not None:
            contract.check(payload, f"the payload of {job_type.name}", "/payload")
        queue = body.get("queue", job_type.queue)
        await self._queues.admit(queue)
        delay_s = body.get("delaySeconds")
        return Submission(
            id=str(uuid_utils.uuid7()),
            type=job_type.name,
            queue=queue,
            priority=body.get("priority", "normal"),
            payload=msgspec.json.encode(payload).decode(),
            # JSON Schema takes 5.0 for an integer; the history does not.
            max_attempts=int(body.get("maxAttempts", job_type.max_attempts)),
            timeout_s=body.get("timeoutSeconds", job_type.timeout_s),
            contract_version=job_type.version,
            correlation_id=body.get("correlationId", context.correlation_id),
            parent_id=_lower(body.get("parentId")),
            scheduled_at=_instant(body.get("scheduledAt")),
            delay_us=None if delay_s is None else round(delay_s * MICROSECONDS),
            idempotency_key=key,
            idempotency_scope=context.principal,
            fingerprint=None if key is None else _fingerprint(body),
            traceparent=context.traceparent,
            tracestate=context.tracestate,
        )

    async def again(self, job: Job, payload: Any, context: Context) -> Submission:
        """A new job like an old one with another payload, its descendant.

        Raises:
            ValidationFailed: the payload does not meet the contract of today.
            UnknownJobType: the type is no longer registered.
        """
        job_type, contract = await self._job_types.find(job.type, context.began)
        if contract is not None:
            contract.check(payload, f"the payload of {job_type.name}", "/payload")
        return Submission(
            id=str(uuid_utils.uuid7()),
            type=job.type,
            queue=job.queue,
            priority=job.priority,
            payload=msgspec.json.encode(payload).decode(),
            max_attempts=job.max_attempts,
            timeout_s=job.timeout_s,
            contract_version=job_type.version,
            correlation_id=job.correlation_id,
            parent_id=job.id,
            traceparent=context.traceparent,
            tracestate=context.tracestate,
        )


def _check_version(body: dict[str, Any], job_type: JobType) -> None:
    asked = body.get("contractVersion")
    if asked is not None and asked != job_type.version:
        detail = f"the registered contract of {job_type.name} is version {job_type.version}"
        raise ValidationFailed(
            "the job asks for another contract version", faults=(Fault("/contractVersion", detail),)
        )


def _instant(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return from_rfc3339(text)
    except ValueError as error:
        raise ValidationFailed(
            "the job has a fault", faults=(Fault("/scheduledAt", str(error)),)
        ) from None


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def _fingerprint(body: dict[str, Any]) -> str:
    return hashlib.sha256(_encode(body)).hexdigest()
