"""Running one attempt: from a claimed job to how it ended, whatever the handler does."""

import asyncio
import contextvars
import random
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import dropwhile
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import msgspec
import structlog

from observatory.core.errors import NonRetryable
from observatory.core.job import ClaimedJob, FinishedAttempt, JobLogLine, ProgressReport
from observatory.core.job_type import Handler
from observatory.core.lifecycle import ErrorInfo, OutcomeKind
from observatory.runtime.telemetry import lines_of
from observatory.runtime.tracing import active
from observatory.services.processor.notes import JobLog, Notes, clean
from observatory.services.processor.result import encoded

if TYPE_CHECKING:
    from observatory.runtime.spans import AttemptSpans

MESSAGE_CHARS_MAX: Final = 4_000
TRACEBACK_CHARS_MAX: Final = 32_000
_ABANDON_AFTER_S: Final = 5.0
"""How long a cancelled run may take to end before its slot is given to another."""

_OVER_TIME_S: Final = 0.5
"""How far past its timeout a run may end before it is said that the timeout did not bite."""

_log = structlog.get_logger(__name__)


def _cleaned(error: ErrorInfo) -> ErrorInfo:
    return ErrorInfo(error.type, clean(error.message, MESSAGE_CHARS_MAX))


def error_info(error: BaseException) -> ErrorInfo:
    """What an attempt failed with. The frames of this system are left out of the traceback."""
    try:
        message = str(error)
    except Exception as second:
        message = f"(its text cannot be made: {type(second).__name__})"
    try:
        frames = error.__traceback__
        while frames is not None and _is_own(frames.tb_frame):
            frames = frames.tb_next
        lines = traceback.format_exception(type(error), error, frames)
        text = "".join(lines)
    except Exception as second:
        text = f"(the traceback cannot be made: {type(second).__name__})"
    return ErrorInfo(
        clean(type(error).__qualname__, 200),
        clean(message, MESSAGE_CHARS_MAX),
        clean(text, TRACEBACK_CHARS_MAX),
    )


_OWN_MODULES: Final = frozenset({__name__, "anyio.to_thread", "anyio._backends._asyncio"})


def _is_own(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") in _OWN_MODULES


def _awaited(task: asyncio.Task[None]) -> Iterator[tuple[FrameType, int]]:
    """The frames of a task that waits, the outermost first; `Task.get_stack` gives only that."""
    coroutine: Any = task.get_coro()
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        yield frame, frame.f_lineno
        coroutine = coroutine.cr_await


OnSettled = Callable[["Run", FinishedAttempt], None]


class Run:
    """One attempt under way. It settles once: what comes later is too late."""

    def __init__(
        self,
        job: ClaimedJob,
        handler: Handler,
        now: Callable[[], int],
        notes: Notes,
        result_bytes_max: int,
        threads: anyio.CapacityLimiter,
        on_settled: OnSettled,
    ) -> None:
        self.job = job
        self.handler = handler
        self.settled = False
        self.cancelled = False
        self.spans: AttemptSpans | None = None
        """While tracing is on."""
        self._on_settled = on_settled
        self._now = now
        self._notes = notes
        self._result_bytes_max = result_bytes_max
        self._threads = threads
        self._ending: OutcomeKind | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.began_at: float | None = None
        """By the event loop's clock; None while it waits for a slot."""
        self._begun = False
        self._thread: int | None = None
        """The thread in which the handler is, while it is in one."""
        self._hung_at: list[tuple[FrameType, int]] = []

    def start(self) -> None:
        """Begin to run in a task of its own."""
        timeout_s = self.job.timeout_s
        loop = asyncio.get_running_loop()
        self.began_at = loop.time()
        if (spans := active()) is not None:
            self.spans = spans.attempt(self.job)
        if timeout_s is not None:
            self._timer = loop.call_later(timeout_s, self.end, OutcomeKind.TIMEOUT)
        self._task = asyncio.create_task(self._run(), name=f"job {self.job.id}")

    def end(self, outcome: OutcomeKind) -> None:
        """End the run early: its handler is cancelled, and abandoned if that does not end it."""
        if self.settled:
            return
        if self._task is None:
            self._settle(outcome, error=self._early_error(outcome))
        elif not self._begun:
            # Cancelled before its first step, a task takes none: nothing would settle it.
            self.cancelled = True
            self._task.cancel()
            self._settle(outcome, error=self._early_error(outcome))
        elif self._ending is None:
            self._ending = outcome
            self._hung_at = self._thread_frames()  # before it is told, and goes on
            self.cancelled = True
            loop = asyncio.get_running_loop()
            if self._timer is not None:
                self._timer.cancel()  # its timeout's; it would keep the run in memory until then
            self._timer = loop.call_later(_ABANDON_AFTER_S, self._abandon)
            # Once: asked again, as each heartbeat does, it would cut off the handler's clean-up.
            self._task.cancel()

    @property
    def abandoned(self) -> bool:
        """The run has settled while its handler goes on, in its task or its thread."""
        task_goes_on = self._task is not None and not self._task.done()
        return self.settled and (task_goes_on or self._thread is not None)

    def _abandon(self) -> None:
        if self._ending is not None:
            self._settle(self._ending, error=self._early_error(self._ending))

    async def _run(self) -> None:
        self._begun = True
        try:
            outcome, result, error = await self._attempt()
            self._say_if_over_time()
        except asyncio.CancelledError as failure:
            # Where nobody ended the run, the handler was cancelled by something of its own.
            outcome = self._ending or OutcomeKind.ERROR
            result = None
            error = self._early_error(outcome, failure) if self._ending else error_info(failure)
        except BaseException as failure:
            # SystemExit included: a handler may end its job, never its worker.
            failure = failure.stopped if isinstance(failure, _Stopped) else failure
            result, error = None, error_info(failure)
            refused = isinstance(failure, NonRetryable | PayloadMismatch)
            outcome = OutcomeKind.NOT_RETRYABLE if refused else OutcomeKind.ERROR
        self._settle(outcome, result, error)

    async def _attempt(self) -> tuple[OutcomeKind, str | None, ErrorInfo | None]:
        traced: AbstractContextManager[None] = (
            nullcontext() if self.spans is None else self.spans.entered()
        )
        with lines_of(self.job), traced:
            value = await self._call(self._arguments())
        result = encoded(value, self._result_bytes_max)
        if isinstance(result, ErrorInfo):
            return OutcomeKind.UNSERIALISABLE, None, _cleaned(result)
        return OutcomeKind.COMPLETED, result, None

    def _say_if_over_time(self) -> None:
        assert self.began_at is not None
        took_s = asyncio.get_running_loop().time() - self.began_at
        if self.job.timeout_s is None or took_s < self.job.timeout_s + _OVER_TIME_S:
            return
        text = (
            f"it ended after {took_s:.1f} s, past its timeout of {self.job.timeout_s:g} s: an "
            "async handler that blocks the event loop cannot be cut off, and holds up every other "
            "run; make it a plain def, which runs in a thread"
        )
        _log.warning("run.over_time", job=self.job.id, job_type=self.job.type, seconds=took_s)
        line = JobLogLine(self.job.id, self.job.attempt, self._now(), "warning", text, {})
        self._notes.add(line)

    def _arguments(self) -> dict[str, Any]:
        payload: dict[str, Any] = msgspec.json.decode(self.job.payload)
        handler = self.handler
        if handler.parameters is not None:
            known = _converted(payload, handler.parameters)
            payload |= {field: getattr(known, field) for field in known.__struct_fields__}
        if handler.context_parameter is not None:
            payload[handler.context_parameter] = _Context(self, self._notes, self._now)
        return payload

    async def _call(self, arguments: dict[str, Any]) -> Any:
        if self.handler.is_async:
            return await self.handler.function(**arguments)
        context = contextvars.copy_context()

        def call() -> Any:
            self._thread = threading.get_ident()
            try:
                return context.run(self.handler.function, **arguments)
            except StopIteration as stopped:
                raise _Stopped(stopped) from None
            finally:
                self._thread = None

        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads)

    def _settle(
        self, outcome: OutcomeKind, result: str | None = None, error: ErrorInfo | None = None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.settled:
            return
        self.settled = True
        attempt = FinishedAttempt(
            job=self.job.id,
            attempt=self.job.attempt,
            outcome=outcome,
            retry=self.handler.job_type.retry,
            jitter=random.random(),  # noqa: S311 - spreads retries, guards nothing
            result=result,
            error=error,
        )
        if self.spans is not None:
            self.spans.ended(attempt)
        self._on_settled(self, attempt)

    def _early_error(
        self, outcome: OutcomeKind, cancelled: asyncio.CancelledError | None = None
    ) -> ErrorInfo | None:
        if outcome is not OutcomeKind.TIMEOUT:
            return None
        text = f"the attempt took longer than its {self.job.timeout_s:g} seconds"
        hung = "".join(traceback.StackSummary.extract(self._hung_in(cancelled)).format())
        whole = f"Traceback (most recent call last):\n{hung}TimeoutError: {text}\n"
        return ErrorInfo("TimeoutError", text, clean(whole, TRACEBACK_CHARS_MAX) if hung else None)

    def _hung_in(self, cancelled: asyncio.CancelledError | None) -> Iterator[tuple[FrameType, int]]:
        """The handler's frames where it is, or was when it was cancelled, the outermost first."""
        frames: Iterable[tuple[FrameType, int]] = ()
        if not self.handler.is_async:
            frames = self._hung_at
        elif cancelled is not None:
            frames = traceback.walk_tb(cancelled.__traceback__)
        elif self._task is not None:
            frames = _awaited(self._task)
        # Before ours stand those that start a thread; the handler comes after ours.
        from_ours = dropwhile(lambda entry: not _is_own(entry[0]), frames)
        return dropwhile(lambda entry: _is_own(entry[0]), from_ours)

    def _thread_frames(self) -> list[tuple[FrameType, int]]:
        thread = self._thread
        frame = None if thread is None else sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage] - documented
        # The thread may have gone on to another run meanwhile; then the frames are not ours.
        if frame is None or self._thread != thread:
            return []
        return list(traceback.walk_stack(frame))[::-1]


def _converted(payload: dict[str, Any], parameters: type[msgspec.Struct]) -> msgspec.Struct:
    try:
        return msgspec.convert(payload, parameters, str_keys=True)
    except msgspec.ValidationError:
        # 2.0 is an integer to JSON Schema (2020-12 core, section 4.2.3), and not to msgspec.
        try:
            return msgspec.convert(_integral(payload), parameters, str_keys=True)
        except msgspec.ValidationError as error:
            raise PayloadMismatch(f"the payload does not meet the contract: {error}") from None


def _integral(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_integral(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return {name: _integral(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return value


class PayloadMismatch(Exception):  # noqa: N818 - users read it as what happened
    """The payload was accepted under a contract that the handler no longer has."""


class _Stopped(Exception):  # noqa: N818 - says what is so
    """A handler's StopIteration: a coroutine cannot raise one, and would tell of that instead."""

    def __init__(self, stopped: StopIteration) -> None:
        super().__init__()
        self.stopped = stopped


class _Context:
    """The job's context as handlers see it; see `observatory.JobContext`."""

    def __init__(self, run: Run, notes: Notes, now: Callable[[], int]) -> None:
        self._run = run
        self._notes = notes
        self._now = now
        self.log = JobLog(run.job, notes, now)

    @property
    def job_id(self) -> str:
        return self._run.job.id

    @property
    def job_type(self) -> str:
        return self._run.job.type

    @property
    def attempt(self) -> int:
        return self._run.job.attempt

    @property
    def correlation_id(self) -> str:
        return self._run.job.correlation_id

    @property
    def cancelled(self) -> bool:
        return self._run.cancelled

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        if fraction is not None:
            fraction = min(1.0, max(0.0, float(fraction)))
        text = None if message is None else clean(str(message), 500)
        job = self._run.job
        self._notes.report(ProgressReport(job.id, job.attempt, self._now(), fraction, text))
