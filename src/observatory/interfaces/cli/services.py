"""`observatory gateway`, `processor`, `metrics-engine`, `read-model`: one service a process."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from observatory.interfaces.cli.output import TABLE, Output, say
from observatory.interfaces.cli.serving import describe_backends, read_settings, run_services

if TYPE_CHECKING:
    from observatory import Observatory


def gateway(*, host: str | None = None, port: int | None = None, output: Output = TABLE) -> int:
    """Serve the write API alone, on RabbitMQ, PostgreSQL and Redis, until SIGTERM.

    For example:
      observatory gateway --port 8081

    Args:
        host: Address to listen on [env: OBSERVATORY_HOST; default: 127.0.0.1].
        port: Port to listen on [env: OBSERVATORY_PORT; default: 8080].
    """
    return _serve("gateway", None, host, port, output=output)


def processor(
    module: Annotated[str, Parameter(name="MODULE")],
    /,
    *,
    host: str | None = None,
    port: int | None = None,
    output: Output = TABLE,
) -> int:
    """Run the jobs of a module, on RabbitMQ, PostgreSQL and Redis, until SIGTERM.

    For example:
      observatory processor my_module --port 8082

    Args:
        module: Module that holds an `Observatory()`, as MODULE, MODULE:NAME or a .py file.
        host: Address of health and metrics [env: OBSERVATORY_HOST; default: 127.0.0.1].
        port: Port of health and metrics [env: OBSERVATORY_PORT; default: 8080].
    """
    from observatory.interfaces.cli.finding import find_application

    return _serve("processor", find_application(module), host, port, output=output)


def metrics_engine(
    *, host: str | None = None, port: int | None = None, output: Output = TABLE
) -> int:
    """Keep the aggregates from the event log, until SIGTERM.

    For example:
      observatory metrics-engine --port 8083

    Args:
        host: Address of health and metrics [env: OBSERVATORY_HOST; default: 127.0.0.1].
        port: Port of health and metrics [env: OBSERVATORY_PORT; default: 8080].
    """
    return _serve("metrics-engine", None, host, port, output=output)


def read_model(*, host: str | None = None, port: int | None = None, output: Output = TABLE) -> int:
    """Serve the read API and the page alone, until SIGTERM.

    For example:
      observatory read-model --port 8084

    Args:
        host: Address to listen on [env: OBSERVATORY_HOST; default: 127.0.0.1].
        port: Port to listen on [env: OBSERVATORY_PORT; default: 8080].
    """
    return _serve("read-model", None, host, port, output=output)


def _serve(
    name: str,
    application: "Observatory | None",
    host: str | None,
    port: int | None,
    *,
    output: Output,
) -> int:
    from observatory.assembly.system import Service
    from observatory.core.application import Observatory

    settings = read_settings(host=host, port=port)

    def on_ready(url: str) -> None:
        if not output.structured:
            say(f"observatory {name} is ready at {url} on {describe_backends(settings)}")

    return run_services(
        application or Observatory(),
        settings,
        frozenset({Service(name)}),
        on_ready,
        output=output,
    )
