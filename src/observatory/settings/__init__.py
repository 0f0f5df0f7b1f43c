"""Settings: the environment (``OBSERVATORY_*``), read once at the start of a process."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from observatory.core.form import QUEUE

_PREFIX: Final = "OBSERVATORY_"


class Settings(BaseSettings):
    """Every setting, with its default. Durations are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore")

    data: Path = Field(
        default=Path(".observatory"), description="folder of the embedded system's file"
    )
    spine_url: SecretStr = Field(
        default=SecretStr(""), description="amqp://… of RabbitMQ; empty for the data folder"
    )
    store_url: SecretStr = Field(
        default=SecretStr(""), description="postgresql://… of the store; empty for the data folder"
    )
    aggregates_url: SecretStr = Field(
        default=SecretStr(""), description="redis://… of the aggregates; empty for the data folder"
    )
    alertmanager_url: SecretStr = Field(
        default=SecretStr(""),
        description="http://… of Alertmanager, whose alerts are shown; empty for those that the "
        "embedded system finds itself",
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(
        default=8080, ge=0, le=65535, description="port to listen on; 0 takes a free one"
    )
    api_keys: SecretStr = Field(
        default=SecretStr(""),
        description="name:scope+scope:sha256hex entries, separated by commas",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="warning", description="debug, info, warning or error"
    )

    concurrency: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="runs at once in one processor; 200, or 32 where a handler runs in a thread",
    )
    queues: str = Field(
        default="",
        description="queues a processor takes from, separated by commas; those of its job types, "
        "and default; in the embedded system every queue",
    )
    lease_seconds: float = Field(
        default=15.0, gt=0, description="a worker not seen for this long is dead"
    )
    heartbeat_seconds: float = Field(default=2.0, gt=0, description="time between heartbeats")
    grace_seconds: float = Field(
        default=10.0, ge=0, description="how long a drain waits for runs to end"
    )
    retention_days: float = Field(default=7.0, gt=0, description="how long terminal jobs are kept")
    event_retention_days: float = Field(
        default=3.0, gt=0, description="how long the event log is kept"
    )

    body_bytes_max: int = Field(default=1 << 20, ge=1024, description="largest body of one job")
    batch_bytes_max: int = Field(default=16 << 20, ge=1024, description="largest body of a batch")
    batch_jobs_max: int = Field(
        default=1000, ge=1, le=1000, description="most jobs in a batch, 1,000 at most"
    )
    result_bytes_max: int = Field(default=1 << 20, ge=1024, description="largest result kept")
    backlog_max: int = Field(
        default=100_000,
        ge=1,
        description="changes of jobs that may wait to be published before submits are refused",
    )
    requests_max: int = Field(
        default=1000, ge=1, description="requests answered at once in one process, streams included"
    )
    bodies_bytes_max: int = Field(
        default=64 << 20, ge=1024, description="bytes of bodies held at once in one process"
    )
    queues_max: int = Field(
        default=200, ge=1, description="queues that jobs may be submitted to; each costs for ever"
    )
    streams_max: int = Field(
        default=100, ge=1, description="live streams open at once in one process"
    )
    canary_seconds: float = Field(
        default=0.0,
        ge=0,
        description="time between heartbeat jobs that pass through the whole pipeline; 0 for none",
    )
    failpoints: str = Field(
        default="", description="where a test has the process fail; see runtime/failpoints.py"
    )
    allow_unknown_types: bool = Field(
        default=False, description="accept job types nobody registered"
    )

    @property
    def queue_names(self) -> list[str]:
        """`queues`, apart."""
        return [name.strip() for name in self.queues.split(",") if name.strip()]

    @field_validator("data")
    @classmethod
    def _wherever_handlers_go(cls, value: Path) -> Path:
        # Files of it are opened as long as the process lives, and a handler may change the folder
        # that a relative path begins in.
        try:
            return value.absolute()
        except OSError as error:  # the folder this was started in is gone
            raise ValueError(f"{value} cannot be found from here: {error.strerror}") from error

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_small_letters(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("queues")
    @classmethod
    def _names_of_queues(cls, value: str) -> str:
        for name in value.split(","):
            if name.strip() and not QUEUE.pattern.fullmatch(name.strip()):
                raise ValueError(f"{name.strip()[:100]!r} is not {QUEUE.words}")
        return value

    @model_validator(mode="after")
    def _lease_outlasts_heartbeats(self) -> "Settings":
        # A worker stops itself after two thirds of its lease; a beat must fit in before.
        if self.heartbeat_seconds * 1.5 >= self.lease_seconds:
            raise ValueError(
                f"{_PREFIX}LEASE_SECONDS ({self.lease_seconds:g}) must be more than one and a half "
                f"times {_PREFIX}HEARTBEAT_SECONDS ({self.heartbeat_seconds:g})"
            )
        return self


_OF_CLIENTS: Final = frozenset({"URL", "API_KEY"})
_OF_KUBERNETES: Final = re.compile(r"(.*_)?SERVICE_(HOST|PORT)(_.*)?|(.*_)?PORT_[0-9]+_(TCP|UDP).*")
"""What Kubernetes sets in every pod beside a Service of this name."""


def unknown_settings(environment: Iterable[str]) -> list[str]:
    """Names in the environment that look like settings and are none, sorted."""
    known = {name.upper() for name in Settings.model_fields} | _OF_CLIENTS
    names = (name for name in environment if name.startswith(_PREFIX))
    return sorted(
        name
        for name in names
        if (short := name.removeprefix(_PREFIX)) not in known
        and not _OF_KUBERNETES.fullmatch(short)
    )


def wrong_settings(error: ValidationError) -> list[str]:
    """What is wrong with the settings, one text for each, without the values."""
    return [_wrong(one) for one in error.errors(include_input=False, include_url=False)]


def _wrong(fault: Mapping[str, Any]) -> str:
    text = str(fault["msg"]).removeprefix("Value error, ")
    name = "_".join(map(str, fault["loc"])).upper()
    return f"{_PREFIX}{name}: {text}" if name else text
