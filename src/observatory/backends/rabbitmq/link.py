"""A connection to RabbitMQ that is kept alive: whatever is lost, all of it is made anew.

A *session* is one connection with all that was set up on it. Nothing of a session is repaired:
when its connection, a channel or a consumer is lost, the session is, and the link makes the next.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, Generic, TypeVar

import structlog
from aiormq import Connection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import AMQPError
from pamqp.commands import Basic
from yarl import URL

from observatory.core.errors import ConfigurationError, ObservatoryError, SpineUnavailable

_log = structlog.get_logger(__name__)

DEADLINE_S: Final = 5.0
"""How long anything asked of the broker may take."""

_CLOSE_S: Final = 3.0
_HEARTBEAT_S: Final = 10
_PAUSE_MIN_S: Final = 0.05
_PAUSE_MAX_S: Final = 5.0
_STEADY_AFTER_S: Final = 10.0
"""A session that lasted so long was a good one: the next attempt comes at once."""
_PAUSE_MISFIT_S: Final = 30.0
"""What only an operator can mend is tried again this rarely."""

State = TypeVar("State")


class Session:
    """One connection, until anything of it is lost."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._working: AbstractChannel | None = None
        self._asked: AbstractChannel | None = None
        self._asking: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._released: set[AbstractChannel] = set()
        self.lost = asyncio.Event()
        self.retired = False
        """It is about to be closed, so what it loses from now on is no news."""

    def lose(self, reason: str) -> None:
        """Something of this session is gone: end it, so that the next is made."""
        if not self.lost.is_set():
            if not self.retired:
                _log.warning("rabbitmq.session_lost", reason=reason)
            self.lost.set()

    async def channel(self, *, confirms: bool = False) -> AbstractChannel:
        """A channel of one's own. The caller closes it."""
        with translated("opening a channel"):
            async with asyncio.timeout(DEADLINE_S):
                return await self._connection.channel(publisher_confirms=confirms)

    async def lasting_channel(self, *, confirms: bool = False) -> AbstractChannel:
        """A channel for as long as the session: should it or a consumer on it be lost, so is the
        session."""
        channel = await self.channel(confirms=confirms)
        channel.on_consumer_cancel_callbacks.add(self._cancelled)
        _on_closing(channel, lambda: self._closed(channel))
        return channel

    def release(self, channel: AbstractChannel) -> None:
        """A lasting channel is about to be closed, and the session goes on without it."""
        self._released.add(channel)

    def _closed(self, channel: AbstractChannel) -> None:
        if channel in self._released:
            self._released.discard(channel)
        else:
            self.lose(f"channel {channel} is closed")

    async def working_channel(self) -> AbstractChannel:
        """A channel for questions, shared by all who ask one at a time."""
        async with self._lock:
            if self._working is None or self._working.is_closed:
                self._working = await self.channel()
            return self._working

    async def answers(self) -> None:
        """See whether the broker answers on this connection now. One that hangs looks alive until
        heartbeats have been missing for half a minute. Whoever asks meanwhile shares the question.

        Raises:
            SpineUnavailable: it does not.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
            # Whoever asked may have gone before there was an answer.
            self._asking.add_done_callback(lambda asking: asking.cancelled() or asking.exception())
        # A question that is given up half way costs its channel.
        await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        with translated("asking whether it is there"):
            async with asyncio.timeout(DEADLINE_S):
                if self._asked is None or self._asked.is_closed:
                    # Its own: other questions may take the broker long, and it be well.
                    self._asked = await self._connection.channel(publisher_confirms=False)
                # Says nothing, and touches nothing: no one takes messages on this channel.
                await self._asked.basic_qos(prefetch_count=1)

    async def unblocked(self) -> None:
        """Wait while the broker takes no messages from this connection."""
        await self._connection.ready()

    def _cancelled(self, frame: Basic.Cancel) -> None:
        self.lose(f"the broker cancelled consumer {frame.consumer_tag}")


class Link(Generic[State]):
    """Keeps a session, and what `setup` made of it, for as long as there is a broker."""

    def __init__(self, url: str, role: str, setup: Callable[[Session], Awaitable[State]]) -> None:
        """`url` is `amqp://` or `amqps://`; `role` is how operators see the connection."""
        base = URL(url)
        self._url = base.with_query(
            {"heartbeat": str(_HEARTBEAT_S), "name": f"observatory {role}", **base.query}
        )
        self._role = role
        self._setup = setup
        self._session: Session | None = None
        self._state: State | None = None
        self._failure: ObservatoryError | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to connect."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"rabbitmq {self._role}")

    async def state(self) -> State:
        """What `setup` made of the session that is there now; waited for while it is made.

        Raises:
            SpineUnavailable: the broker does not answer.
            ConfigurationError: the broker holds something that does not fit.
        """
        if self._state is not None and not self._going:
            return self._state  # As a rule; a deadline costs as much as all else here.
        with translated("connecting"):
            async with asyncio.timeout(DEADLINE_S):
                while self._state is None or self._going:
                    if self._closed:
                        raise SpineUnavailable("the spine is closed")
                    if self._failure is not None:
                        raise type(self._failure)(str(self._failure))
                    await self._changed.wait()
                return self._state

    @property
    def _going(self) -> bool:
        """What there is belongs to a session that is lost: the next will be made."""
        return self._session is not None and self._session.lost.is_set()

    def retire(self) -> None:
        """The connection will be closed soon: what is lost of it meanwhile is not reported."""
        if self._session is not None:
            self._session.retired = True

    async def close(self) -> None:
        """Close the connection; no other is made."""
        self.retire()
        self._closed = True
        self._change(None, None)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _change(self, state: State | None, failure: ObservatoryError | None) -> None:
        self._state, self._failure = state, failure
        self._changed.set()
        self._changed = asyncio.Event()

    async def _keep(self) -> None:
        pause_s = _PAUSE_MIN_S
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                await self._hold()
            except ConfigurationError as error:
                _log.error("rabbitmq.misfit", role=self._role, error=str(error))
                self._change(None, error)
                pause_s = _PAUSE_MISFIT_S
            except SpineUnavailable as error:
                _log.warning("rabbitmq.unavailable", role=self._role, error=str(error))
                self._change(None, error)
            except Exception as error:
                # Whatever it was: a link that ended would leave all that follows waiting.
                _log.exception("rabbitmq.failed", role=self._role)
                self._change(None, SpineUnavailable(f"RabbitMQ: {error!r}"))
            if clock() - began > _STEADY_AFTER_S:
                pause_s = _PAUSE_MIN_S
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _hold(self) -> None:
        """One session, from its beginning until it is lost."""
        with translated("connecting"):
            connection = Connection(self._url)
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await _connect(connection)
                session = self._session = Session(connection)
                _on_closing(connection, lambda: session.lose("disconnected"))
                async with asyncio.timeout(2 * DEADLINE_S):
                    state = await self._setup(session)
                # Who was told that it had gone is told that it is back.
                told = _log.info if self._failure is None else _log.warning
                told("rabbitmq.connected", role=self._role)
                self._change(state, None)
                await session.lost.wait()
                self._change(None, None)
            finally:
                await _close(connection)


@contextlib.asynccontextmanager
async def connected(connection: Connection) -> AsyncGenerator[None]:
    """A connection that lasts as long as the block, for what is asked once.

    Raises:
        SpineUnavailable: the broker does not answer in time.
    """
    try:
        with translated("connecting"):
            async with asyncio.timeout(DEADLINE_S):
                await _connect(connection)
        yield
    finally:
        await _close(connection)


async def close_channel(channel: AbstractChannel) -> None:
    """Close, and do not wait for ever, nor complain: the broker may be gone."""
    if not channel.is_closed:
        await _within(channel.close(), _CLOSE_S)


async def _close(connection: Connection) -> None:
    if connection.is_opened:
        await _within(connection.close(), _CLOSE_S)


async def _within(closing: Coroutine[Any, Any, None], seconds: float) -> None:
    task = asyncio.ensure_future(closing)
    await asyncio.wait([task], timeout=seconds)
    if not task.done():
        task.cancel()
    elif not task.cancelled():
        task.exception()  # It is known now, and of no use.


# Where the driver leaves types unknown.


def _on_closing(of: Any, act: Callable[[], None]) -> None:
    """Act when a channel or connection is closed."""
    of.closing.add_done_callback(lambda _: act())  # pyright: ignore[reportUnknownLambdaType]


async def _connect(connection: Any) -> None:
    await connection.connect()


@contextlib.contextmanager
def translated(what: str) -> Generator[None]:
    """Raise SpineUnavailable for whatever the driver raises within.

    The driver cancels whoever waits for a channel that is closed; only a cancellation that
    somebody asked of this task is one.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise SpineUnavailable(f"{what}: the connection was lost") from error
    except TimeoutError as error:
        raise SpineUnavailable(f"{what}: RabbitMQ does not answer in time") from error
    except (AMQPError, OSError, EOFError, RuntimeError) as error:
        text = str(error) or type(error).__name__
        raise SpineUnavailable(f"{what}: {text}") from error
