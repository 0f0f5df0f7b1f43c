"""The processor's life: start, keep its slots busy, drain."""

import asyncio
import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import anyio
import msgspec
import structlog

from observatory.core.canary import HEARTBEAT_JOB
from observatory.core.errors import ObservatoryError, SpineUnavailable
from observatory.core.event import Event, progress_event, worker_event
from observatory.core.job import ClaimedJob, FinishedAttempt, WorkerRecord
from observatory.core.job_type import DEFAULT_QUEUE, Handler, Retry
from observatory.core.lifecycle import OutcomeKind
from observatory.core.spine import Spine
from observatory.core.store import Pulse, Store
from observatory.runtime.dispatch import Dispatcher
from observatory.runtime.loop import Loop
from observatory.services.processor.claim import HAND_ON_AFTER_S, Claimer
from observatory.services.processor.finish import Finisher
from observatory.services.processor.heartbeat import Heartbeat
from observatory.services.processor.heartbeat_job import HANDLER
from observatory.services.processor.maintenance.leadership import Maintenance
from observatory.services.processor.notes import Notes, NoteWriter
from observatory.services.processor.run import Run
from observatory.services.processor.slots import Slots
from observatory.settings import Settings

_log = structlog.get_logger(__name__)

_NOTES_INTERVAL_S: Final = 0.25
_PROGRESS_MAX: Final = 1000
"""Progress that waits to be announced; it is on record, so older may be left out."""
_CANARY_INTERVAL_S: Final = 5.0
_RUNS_INTERVAL_S: Final = 5.0
"""A run that is on record and not known here, at two looks in a row, is handed back."""
_QUEUES_INTERVAL_S: Final = 0.5
"""Within this a pause is heeded."""
_KEEP_QUEUE_S: Final = 60.0
"""A queue that was taken up is left once nothing has waited in it for this long."""
_LOOK_S: Final = 1.0
"""How often to look for what nobody tells of."""
_CUT_SHORT: Final = frozenset({OutcomeKind.TIMEOUT, OutcomeKind.CANCELLED, OutcomeKind.RELEASED})
"""Outcomes after which a handler may still be going on."""
_TASK_SLOTS: Final = 200
_THREAD_SLOTS: Final = 32
"""Threads share one interpreter: more of them make each, and the event loop, wait longer."""
_ABANDONED_MAX: Final = 100
"""Runs that did not end when cancelled, beyond which the worker claims no more."""


class Processor:
    """One worker: claims, runs and finishes jobs of the job types it knows."""

    def __init__(
        self,
        store: Store,
        spine: Spine,
        dispatcher: Dispatcher,
        handlers: Mapping[str, Handler],
        settings: Settings,
        now: Callable[[], int],
    ) -> None:
        host, pid = socket.gethostname(), os.getpid()
        self.worker = f"{host}:{pid}:{store.publisher}"
        self.source = f"/observatory/processor/{store.publisher}"
        self._store = store
        self._dispatcher = dispatcher
        self._handlers = {HEARTBEAT_JOB: HANDLER, **handlers}
        self._registered = [handler.job_type for handler in handlers.values()]
        self._settings = settings
        self._now = now
        in_threads = any(not handler.is_async for handler in handlers.values())
        count = settings.concurrency or (_THREAD_SLOTS if in_threads else _TASK_SLOTS)
        self._slots = Slots(count, self._may_begin)
        own = {h.job_type.queue for h in handlers.values()} | {DEFAULT_QUEUE}
        self._own_queues = frozenset(settings.queue_names or own)
        self._taken_up: dict[str, float] = {}
        """Queues of nobody's here, and when a job last waited in them."""
        self._record = WorkerRecord(
            id=self.worker,
            host=host,
            pid=pid,
            started_at=now(),
            seen_at=now(),
            state="active",
            concurrency=self._slots.count,
            running=0,
            queues=tuple(sorted(self._own_queues)),
            job_types=tuple(sorted(handlers)),
        )
        self._state = "active"
        self._fenced = False
        """Others may take this worker for dead: it owns nothing until a beat succeeds."""
        self._unknown: set[tuple[str, int]] = set()
        self._abandoned: set[Run] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = anyio.CapacityLimiter(self._slots.count)
        self._notes = Notes()
        self._note_writer = NoteWriter(self._notes, store, self.worker)
        self._claimer = Claimer(store, spine, dispatcher, self.worker, self._handlers)
        self._finisher = Finisher(store, dispatcher, self.worker)
        self._heartbeat = Heartbeat(
            store,
            self.worker,
            settings.heartbeat_seconds,
            None if store.sole_process else settings.lease_seconds,
            lambda: (self.running, self._state),
            self._on_pulse,
            self._fence,
        )
        self._maintenance = Maintenance(store, spine, dispatcher, self.worker, settings)
        self._note_loop = Loop("notes", self._write_notes, _NOTES_INTERVAL_S)
        self._progress: deque[Event] = deque(maxlen=_PROGRESS_MAX)
        self._progress_loop = Loop("progress", self._announce_progress, _NOTES_INTERVAL_S)
        self._canary_loop = Loop("canary", self._announce_heartbeat, _CANARY_INTERVAL_S)
        self._queues_loop = Loop("queues", self._follow_queues, _QUEUES_INTERVAL_S)
        self._runs_loop = Loop("runs", self._compare_runs, _RUNS_INTERVAL_S)
        self._claim_loop = Loop("claim", self._claim, 0)
        self.loops = (
            self._claim_loop,
            self._queues_loop,
            self._note_loop,
            self._progress_loop,
            self._canary_loop,
            self._runs_loop,
            *self._maintenance.loops,
        )

    @property
    def running(self) -> int:
        """Attempts under way."""
        return self._slots.under_way

    @property
    def abandoned(self) -> int:
        """Runs that have settled while their handlers go on."""
        self._abandoned = {run for run in self._abandoned if run.abandoned}
        return len(self._abandoned)

    def check(self) -> str:
        """What it does now.

        Raises:
            RuntimeError: it claims no more, although it should.
        """
        if self._state == "active" and not self._claim_loop.running:
            raise RuntimeError("claiming has ended; the log of this service says why")
        if self._is_fenced:
            raise RuntimeError(
                "its heartbeats do not reach the store; it claims nothing until then"
            )
        return f"{self.worker} runs {self.running}"

    async def start(self) -> None:
        """Make the job types known, come on record, and begin to claim."""
        await self._store.register_job_types(self._registered)
        await self._store.register_worker(self._record)
        await self._maintenance.start()
        self._heartbeat.start()
        await self._announce("started")
        self._note_loop.start()
        self._progress_loop.start()
        self._canary_loop.start()
        self._claimer.open(await self._open_queues())
        self._queues_loop.start()
        self._runs_loop.start()
        self._claim_loop.start()

    async def stop(self) -> None:
        """Drain: claim no more, let runs end within the grace time, hand back the rest."""
        self._state = "draining"
        await self._queues_loop.stop()
        await self._runs_loop.stop()
        await self._claimer.close()
        self._slots.wake()
        await self._claim_loop.stop()
        self._slots.hand_back_waiting()
        await self._maintenance.stop()
        await self._runs_ended(self._settings.grace_seconds)
        for run in list(self._slots.runs.values()):
            run.end(OutcomeKind.RELEASED)
        await self._runs_ended(None)
        # A store that refuses must not keep the process from ending: what could not be recorded
        # is run again, as after a crash.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(1.0, self._settings.grace_seconds)):
                await self._finisher.settle()
                await self._hand_back_unknown()
                await self._finisher.settle()
        await self._canary_loop.stop()
        await self._note_loop.stop()
        await self._progress_loop.stop()
        await self._heartbeat.stop()
        try:
            await self._write_notes()
            await self._store.unregister_worker(self.worker)
        except ObservatoryError as error:
            _log.warning("worker.left_on_record", error=str(error))
        await self._announce("stopped")

    async def _runs_ended(self, timeout_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._slots.runs or self._tasks:
                    await self._slots.freed(_LOOK_S)

    # Keeping the slots busy

    async def _open_queues(self) -> list[str]:
        paused = set(await self._store.paused_queues())
        return [queue for queue in self._record.queues if queue not in paused]

    async def _follow_queues(self) -> None:
        # What it may not claim is left to others, with what the spine has sent it already.
        open_queues = [] if self._is_fenced else await self._open_queues()
        await self._claimer.limit_to(open_queues)
        self._slots.hand_back_waiting(open_queues)
        if self._store.sole_process and not self._settings.queue_names:
            await self._take_up_queues()

    async def _take_up_queues(self) -> None:
        # A job may be submitted to any queue, and where this is the only processor nobody else
        # would ever take it. Where there are others, which takes from which is for them to be told.
        waiting = await self._store.oldest_queued()
        now = time.monotonic()
        self._taken_up |= dict.fromkeys(waiting.keys() - self._own_queues, now)
        # For a while after its last job, for taking up and leaving cost more than keeping.
        self._taken_up = {q: at for q, at in self._taken_up.items() if at > now - _KEEP_QUEUE_S}
        queues = tuple(sorted({*self._own_queues, *self._taken_up}))
        if self._state != "active" or queues == self._record.queues:
            return
        record = msgspec.structs.replace(self._record, queues=queues, running=self.running)
        await self._store.register_worker(record)
        self._record = record

    async def _claim(self) -> bool:
        # The loop never cuts a claim off: its jobs would be owned and not run.
        if not self._slots.room or not self._may_claim:
            await self._slot_comes_free()
            return True
        await self._slots.gather()
        if self._may_claim:
            jobs = await self._claimer.claim(self._slots.room, self._slots.idle)
            if (within := self._claimer.claimed_within) is not None:
                self._slots.claimed(*within)
            for job in jobs:
                self._start(job)
        return True

    @property
    def _may_claim(self) -> bool:
        return self._may_begin() and self.abandoned < _ABANDONED_MAX

    def _may_begin(self) -> bool:
        return self._state == "active" and not self._is_fenced

    @property
    def _is_fenced(self) -> bool:
        # A process that was stopped for a while knows by its clock, before it is told.
        return self._fenced or self._heartbeat.overdue

    async def _slot_comes_free(self) -> None:
        # An abandoned thread that ends at last says so to nobody: look now and then.
        wait_s = HAND_ON_AFTER_S if self._claimer.holds_others_work else _LOOK_S
        if not await self._slots.freed(wait_s):
            await self._claimer.hand_on()

    async def _compare_runs(self) -> None:
        """Hand back what the record says this worker runs and it does not: while the worker
        lives, nobody else ever would."""
        before, self._unknown = self._unknown, await self._unknown_runs()
        self._hand_back(before & self._unknown)

    async def _unknown_runs(self) -> set[tuple[str, int]]:
        # What is known is looked at after the record: a claim or an outcome under way is in both.
        on_record = set(await self._store.runs(self.worker))
        return on_record - self._slots.runs.keys() - self._claimer.in_doubt - self._finisher.pending

    def _hand_back(self, runs: set[tuple[str, int]]) -> None:
        for job, attempt in runs:
            _log.warning("run.unknown", job=job, attempt=attempt)
            released = FinishedAttempt(
                job=job, attempt=attempt, outcome=OutcomeKind.RELEASED, retry=Retry(), jitter=0.0
            )
            self._finisher.put(released)

    async def _hand_back_unknown(self) -> None:
        # Claiming has ended, so what it is in doubt about, too, will not be run here.
        try:
            self._hand_back(set(await self._store.runs(self.worker)))
        except ObservatoryError as error:
            _log.warning("runs.left_on_record", error=str(error))

    def _start(self, job: ClaimedJob) -> None:
        run = Run(
            job,
            self._handlers[job.type],
            self._now,
            self._notes,
            self._settings.result_bytes_max,
            self._threads,
            self._on_settled,
        )
        self._slots.take(run)

    def _on_settled(self, run: Run, outcome: FinishedAttempt) -> None:
        job = run.job
        self._slots.settled(run)
        self._claimer.ended(job.id)
        self._finisher.expect(outcome, run.spans)
        if outcome.outcome in _CUT_SHORT:
            self._abandoned.add(run)
        if self._notes.forget(job.id, job.attempt, self._now()):
            # What the handler noted is kept first: a job that has ended takes no more progress.
            self._keep(self._finish_noted(outcome))
        else:
            self._finisher.put(outcome)

    async def _finish_noted(self, outcome: FinishedAttempt) -> None:
        try:
            await self._write_notes()
        except ObservatoryError as error:
            _log.warning("notes.late", job=outcome.job, error=str(error))
        finally:
            # Whatever becomes of the notes, an attempt that has ended is not left running.
            self._finisher.put(outcome)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("processor.task_failed", error=repr(error), exc_info=error)

    # Being seen

    def _on_pulse(self, pulse: Pulse) -> None:
        for run in pulse.cancel:
            if run in self._slots.runs:
                self._slots.runs[run].end(OutcomeKind.CANCELLED)
        if pulse.known:
            if self._fenced:
                _log.warning("worker.back", worker=self.worker)
                self._fenced = False
                self._queues_loop.wake()
            return
        self._fence()
        if self._state == "active":
            # The next beat finds it on record, and ends the fence.
            self._keep(self._store.register_worker(self._record))

    def _fence(self) -> None:
        _log.error("worker.fenced", worker=self.worker, running=self.running)
        self._fenced = True
        self._queues_loop.wake()  # a claim may be waiting for work
        for run in list(self._slots.runs.values()):
            # Handed back: it is not the job's fault. Where it was taken away, that stands.
            run.end(OutcomeKind.RELEASED)

    async def _write_notes(self) -> None:
        events = [
            progress_event(report, run.job.type, run.job.queue, self.source)
            for report in await self._note_writer.write()
            if (run := self._slots.runs.get((report.job, report.attempt))) is not None
        ]
        # A spine that takes nothing must not keep outcomes waiting.
        self._progress.extend(events)
        self._progress_loop.wake()

    async def _announce_progress(self) -> None:
        events = list(self._progress)
        self._progress.clear()
        if events:
            await self._dispatcher.announce(events)

    async def _announce_heartbeat(self) -> None:
        await self._announce("heartbeat")

    async def _announce(self, kind: str) -> None:
        event = worker_event(kind, self._record, self._now(), self.source)
        event.data["running"] = self.running
        try:
            await self._dispatcher.announce([event])
        except SpineUnavailable as error:
            # The record decides; the event is for those who watch. Work goes on without the log.
            _log.warning("worker.unannounced", kind=kind, error=str(error))
