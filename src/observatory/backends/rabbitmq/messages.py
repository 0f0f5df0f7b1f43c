"""Messages as they are on the wire: work messages, log entries, and marks in the log.

A *mark* is a message of the spine's own in the log that no reader is given: see decision 0010.
"""

import time
from typing import Any, Final

import msgspec
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from observatory.core.spine import LogEntry, LogMessage, WorkMessage

_PERSISTENT: Final = 2
_BATCH: Final = "application/cloudevents-batch+json"
_JSON: Final = "application/json"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(WorkMessage).decode


class Outgoing(msgspec.Struct, frozen=True):
    """A message on its way to the broker."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Basic.Properties


class Incoming(msgspec.Struct, frozen=True):
    """A message of the log with what the spine wrote on it."""

    message: LogMessage
    id: str | None
    mark: str | None
    epoch: str | None
    floor: int


def work_out(to: str, message: WorkMessage, **headers: str) -> Outgoing:
    """A work message for a queue of the broker."""
    return raw_out(to, _encode(message), **headers)


def raw_out(to: str, body: bytes, **headers: str) -> Outgoing:
    """A body as it is, for a queue of the broker."""
    properties = Basic.Properties(
        content_type=_JSON,
        delivery_mode=_PERSISTENT,
        headers=dict(headers) or None,
    )
    return Outgoing("", to, body, properties)


def work_in(body: bytes) -> WorkMessage:
    """A work message from its body. Raises msgspec.MsgspecError."""
    return _decode(body)


def entry_out(
    exchange: str, key: str, entry: LogEntry, id: str, at: int, epoch: str, floor: int
) -> Outgoing:
    """A log entry for the log."""
    headers: dict[str, Any] = {"at": at, "epoch": epoch}
    if floor:
        headers["floor"] = floor
    if entry.publisher is not None:
        headers["publisher"] = entry.publisher
    if entry.number is not None:
        headers["number"] = entry.number
    properties = Basic.Properties(
        content_type=_BATCH, delivery_mode=_PERSISTENT, headers=headers, message_id=id
    )
    return Outgoing(exchange, key, entry.body, properties)


def mark_out(stream: str, id: str, epoch: str | None, floor: int = 0) -> Outgoing:
    """A mark for the log; it goes there directly, past all who listen at the exchange."""
    headers: dict[str, Any] = {"mark": id, "at": time.time_ns() // 1000}
    if epoch is not None:
        headers["epoch"] = epoch
    if floor:
        headers["floor"] = floor
    properties = Basic.Properties(
        content_type=_BATCH, delivery_mode=_PERSISTENT, headers=headers, message_id=id
    )
    return Outgoing("", stream, b"[]", properties)


def log_in(message: DeliveredMessage) -> Incoming:
    """A message of the log as the stream delivers it. Its position is its offset plus one, so
    that nothing is at position zero."""
    properties = message.header.properties
    headers: dict[str, Any] = dict(properties.headers or {})
    return Incoming(
        LogMessage(
            offset=headers["x-stream-offset"] + 1,
            at=_number(headers.get("at")) or 0,
            body=message.body,
            publisher=_text(headers.get("publisher")),
            number=_number(headers.get("number")),
        ),
        id=properties.message_id,
        mark=_text(headers.get("mark")),
        epoch=_text(headers.get("epoch")),
        floor=_number(headers.get("floor")) or 0,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None
