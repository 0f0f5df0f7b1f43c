"""Which environments turn tracing on, and what is said where that cannot be done."""

import sys

import pytest

from observatory.core.errors import ConfigurationError
from observatory.runtime.tracing import (
    active,
    check_sampler,
    current_ids,
    exporting,
    wanted_exporters,
)

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
TRACES = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}


@pytest.mark.parametrize(
    ("environment", "exporters"),
    [
        ({}, []),
        ({"OTEL_SERVICE_NAME": "mine"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, []),
        (ENDPOINT, ["otlp_proto_http"]),
        (TRACES, ["otlp_proto_http"]),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ["otlp_proto_grpc"]),
        (
            {
                **ENDPOINT,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            ["otlp_proto_http"],
        ),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp_proto_http"]),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, []),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "no"}, ["otlp_proto_http"]),
    ],
)
def test_the_environment_decides(environment: dict[str, str], exporters: list[str]) -> None:
    assert wanted_exporters(environment) == exporters


def test_a_protocol_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="http/json"):
        wanted_exporters({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})


@pytest.mark.parametrize(
    ("named", "share", "wrong"),
    [
        ("", "", None),
        ("parentbased_traceidratio", "0.1", None),
        ("TraceIdRatio", "1", None),
        ("always_off", "whatever", None),
        ("traceidratio", "", None),
        ("bogus", "", "OTEL_TRACES_SAMPLER: 'bogus' is not known; use always_off, always_on"),
        ("traceidratio", "10%", "OTEL_TRACES_SAMPLER_ARG: '10%' is no share"),
        ("parentbased_traceidratio", "10", "a number from 0 to 1"),
        ("traceidratio", "nan", "a number from 0 to 1"),
    ],
)
def test_a_sampler_that_does_not_exist_is_refused(
    named: str, share: str, wrong: str | None
) -> None:
    environment = {"OTEL_TRACES_SAMPLER": named, "OTEL_TRACES_SAMPLER_ARG": share}
    if wrong is None:
        check_sampler(environment)
        return
    with pytest.raises(ConfigurationError, match=wrong):
        check_sampler(environment)


@pytest.mark.anyio
async def test_a_process_asks_for_its_sampler_before_it_traces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "bogus")

    with pytest.raises(ConfigurationError, match="bogus"):
        async with exporting("observatory"):
            raise AssertionError("it began, and would keep every trace")
    assert active() is None


@pytest.mark.anyio
async def test_without_the_extra_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(ConfigurationError, match=r"observatory\[otel\]"):
        async with exporting("observatory"):
            raise AssertionError("it began without an exporter")
    assert active() is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("exporter", "install"), [("no\x1bsuch", "otel"), ("otlp_proto_grpc", "otlp-proto-grpc")]
)
async def test_an_exporter_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, exporter: str, install: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", exporter)

    with pytest.raises(ConfigurationError, match=install):
        async with exporting("observatory"):
            raise AssertionError("it began without an exporter")


@pytest.mark.anyio
async def test_where_nothing_is_asked_for_nothing_is_traced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")

    async with exporting("observatory"):
        assert active() is None
    assert current_ids() is None
