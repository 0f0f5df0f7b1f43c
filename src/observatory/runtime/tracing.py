"""Tracing: off unless the environment asks for it, by the OpenTelemetry project's own settings.

OpenTelemetry is imported only where it was asked for; everywhere else it costs one `if`. What the
spans are is in `spans.py`.
"""

import asyncio
import os
import sys
import threading
import uuid
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from observatory.core.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

    from observatory.runtime.spans import Spans

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTER_OF_PROTOCOL: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_SAMPLERS: Final = frozenset(
    {
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    }
)
_FLUSH_S: Final = 5.0
"""How long the last spans may take to be sent: a collector that is away must not keep a process
from ending."""

_spans: "Spans | None" = None


def active() -> "Spans | None":
    """What makes spans in this process; None while tracing is off."""
    return _spans


@contextmanager
def using(spans: "Spans | None") -> Generator[None]:
    """Have these make the spans of this process until the block ends."""
    global _spans
    before, _spans = _spans, spans
    try:
        yield
    finally:
        _spans = before


@asynccontextmanager
async def exporting(service: str) -> AsyncGenerator[None]:
    """Trace, if the environment asks for it, until the block ends; then send what is left.

    Args:
        service: the name of this service where the environment gives none.

    Raises:
        ConfigurationError: it asks for what is not installed, or does not exist.
    """
    wanted = wanted_exporters(os.environ)
    if not wanted:
        yield
        return
    provider = _provider(wanted, service)
    from observatory.runtime.spans import Spans

    try:
        with using(Spans(provider)):
            yield
    finally:
        # In a thread that may be left behind: a shutdown waits half a minute for a collector that
        # is away.
        flush = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        flush.start()
        await asyncio.to_thread(flush.join, _FLUSH_S)


def wanted_exporters(environment: Mapping[str, str]) -> list[str]:
    """Which exporters an environment asks for; none where tracing is off."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if not named:
        named = "otlp" if any(environment.get(name, "").strip() for name in _ENDPOINTS) else "none"
    exporters = [name.strip() for name in named.split(",")]
    return [
        _of_protocol(environment) if name == "otlp" else name
        for name in exporters
        if name and name != "none"
    ]


def _of_protocol(environment: Mapping[str, str]) -> str:
    given = (environment.get(name, "").strip() for name in _PROTOCOLS)
    protocol = next(filter(None, given), "http/protobuf")
    if protocol not in _EXPORTER_OF_PROTOCOL:
        raise ConfigurationError(
            f"{_PROTOCOLS[1]}: {protocol[:100]!r} is not known; "
            f"use {' or '.join(_EXPORTER_OF_PROTOCOL)}"
        )
    return _EXPORTER_OF_PROTOCOL[protocol]


def check_sampler(environment: Mapping[str, str]) -> None:
    """See that the traces that are to be kept are named by what there is.

    OpenTelemetry itself would warn, and keep them all: that is a bill, where a part was meant.

    Raises:
        ConfigurationError: there is no such sampler, or its share is none.
    """
    named = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    if not named:
        return
    if named not in _SAMPLERS:
        raise ConfigurationError(
            f"OTEL_TRACES_SAMPLER: {named[:100]!r} is not known; use {', '.join(sorted(_SAMPLERS))}"
        )
    share = environment.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if share and named.endswith("traceidratio") and not _is_share(share):
        raise ConfigurationError(
            f"OTEL_TRACES_SAMPLER_ARG: {share[:100]!r} is no share of the traces; "
            "use a number from 0 to 1, such as 0.1"
        )


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _provider(exporters: list[str], service: str) -> "TracerProvider":
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise _not_installed("OpenTelemetry") from error
    from observatory import __version__

    if isinstance(found := trace.get_tracer_provider(), TracerProvider):
        return found  # the program was started by opentelemetry-instrument, or set its own
    check_sampler(os.environ)
    made = [_exporter(name) for name in exporters]
    about = {"service.version": __version__, "service.instance.id": str(uuid.uuid4())}
    resource = Resource(about).merge(Resource.create())
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service}))
    # Its own wish at the end of the process would wait for a collector without a limit.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in made:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    # Handlers, and libraries that are instrumented, find it where OpenTelemetry has them look.
    trace.set_tracer_provider(provider)
    return provider


def _exporter(name: str) -> "SpanExporter":
    from importlib.metadata import entry_points

    found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
    if not found:
        raise _not_installed(f"the exporter {name[:100]!r}")
    try:
        return found[0].load()()
    except Exception as error:
        raise ConfigurationError(f"traces cannot be exported by {name}: {error}") from error


def _not_installed(what: str) -> ConfigurationError:
    package = "opentelemetry-exporter-otlp-proto-grpc" if "grpc" in what else None
    install = package or "'distributed-task-observatory[otel]'"
    return ConfigurationError(
        f"the environment asks for traces (OTEL_…), and {what} is not installed: "
        f"pip install {install}, or set OTEL_SDK_DISABLED=true"
    )


class SpanIds(NamedTuple):
    """The span that is current, as log lines name it."""

    trace_id: str
    span_id: str


def current_ids() -> SpanIds | None:
    """The current span of whoever asks, whoever made it; None where there is none."""
    # Who has a span has imported this; nobody else should pay for it.
    api = sys.modules.get("opentelemetry.trace")
    if api is None or not hasattr(api, "get_current_span"):
        return None
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return SpanIds(f"{context.trace_id:032x}", f"{context.span_id:016x}")
