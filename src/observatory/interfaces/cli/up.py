"""`observatory up`: the whole system in one process."""

import os
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from observatory.interfaces.cli.output import TABLE, Mistake, Output, say
from observatory.interfaces.cli.serving import (
    built_page,
    describe_backends,
    read_settings,
    run_services,
)

if TYPE_CHECKING:
    from observatory import Observatory
    from observatory.interfaces.cli.demo import Demo
    from observatory.settings import Settings

DEMO = "standard_library.py"
"""The job module of the demo, in examples/."""


def up(
    module: Annotated[str | None, Parameter(name="MODULE")] = None,
    /,
    *,
    demo: Annotated[bool, Parameter(negative="")] = False,
    until_done: Annotated[bool, Parameter(negative="")] = False,
    files: int | None = None,
    host: str | None = None,
    port: int | None = None,
    data: Path | None = None,
    output: Output = TABLE,
) -> int:
    """Serve the jobs of a module: API, page and processor, in one process.

    It goes on until Ctrl-C. With --json it prints one line, once it is ready.

    For example:
      observatory up my_module
      observatory up my_module:app --port 9000 --data /var/lib/observatory
      observatory up --demo
      observatory up my_module --port 0 --json | jq .url

    Args:
        module: Module that holds an `Observatory()`, as MODULE, MODULE:NAME or a .py file.
        demo: Serve the demo: one job for each file of Python's standard library.
        until_done: End when the demo is done.
        files: Measure so many of the demo's files, from all over the library [default: all].
        host: Address to listen on [env: OBSERVATORY_HOST; default: 127.0.0.1].
        port: Port to listen on [env: OBSERVATORY_PORT; default: 8080].
        data: Folder of the data [env: OBSERVATORY_DATA; default: .observatory].
    """
    if demo and module is not None:
        raise Mistake("--demo brings its own module; leave MODULE out")
    if until_done and not demo:
        raise Mistake("--until-done goes with --demo")
    if demo and output.structured:
        raise Mistake("--demo tells people what it does; --json goes with a module of your own")
    if files is not None and not demo:
        raise Mistake("--files goes with --demo")
    if files is not None and files < 1:
        raise Mistake(f"--files is a number from 1 on, not {files}")
    if demo:
        # The demo computes, and Python threads that compute take turns: more of them than
        # processors only make each run, and every answer of the page, take longer.
        os.environ.setdefault("OBSERVATORY_CONCURRENCY", str((os.cpu_count() or 1) + 1))
    application = _application(module, demo=demo)
    settings = read_settings(host=host, port=port, data=data)
    if output.structured:
        return _serve_for_programs(application, settings, output)
    demonstration = _demo(until_done=until_done, files=files) if demo else None
    return _serve(application, settings, demonstration)


def _application(module: str | None, *, demo: bool) -> "Observatory":
    from observatory.core.application import Observatory
    from observatory.interfaces.cli.finding import find_application
    from observatory.interfaces.cli.shipped import shipped_folder

    if demo:
        return find_application(str(shipped_folder("examples") / DEMO))
    return Observatory() if module is None else find_application(module)


def _demo(until_done: bool, files: int | None) -> "Demo":
    from observatory.interfaces.cli.demo import Demo

    # SIGTERM to ourselves is the one way out that every part of the system knows.
    def end() -> None:
        if until_done:
            os.kill(os.getpid(), signal.SIGTERM)

    return Demo(when_done=end, goes_on=not until_done, files=files)


def _serve(application: "Observatory", settings: "Settings", demo: "Demo | None") -> int:
    from observatory.assembly.system import ALL_SERVICES

    def on_ready(url: str) -> None:
        say(describe(application, url, settings))
        if demo:
            demo.start(url)

    try:
        with demo.speaking() if demo else nullcontext():
            code = run_services(application, settings, ALL_SERVICES, on_ready)
    finally:
        if demo:
            demo.stop()
    return demo.code(code) if demo else code


def _serve_for_programs(application: "Observatory", settings: "Settings", output: Output) -> int:
    from observatory.assembly.system import ALL_SERVICES

    return run_services(application, settings, ALL_SERVICES, lambda url: None, output=output)


def describe(application: "Observatory", url: str, settings: "Settings") -> str:
    """What is served and where, for the terminal."""
    url = url.rstrip("/")
    lines = [
        f"observatory is ready at {url}",
        f"  page     {f'{url}/' if built_page() else 'not built: run `npm run build` in web/'}",
        f"  API      {url}/jobs   docs {url}/docs   metrics {url}/metrics",
        f"  data     {describe_backends(settings)}",
        *_job_types(application),
    ]
    return "\n".join(lines)


def _job_types(application: "Observatory") -> list[str]:
    queues: dict[str, list[str]] = {}
    for handler in application.handlers.values():
        queues.setdefault(handler.job_type.queue, []).append(handler.job_type.name)
    if not queues:
        return [
            "  jobs     none: this serves no job types. Write some and name their module:",
            "             # my_module.py",
            "             from observatory import Observatory",
            "             app = Observatory()",
            "             @app.job",
            "             def double(n: int) -> int:",
            "                 return 2 * n",
            "           then: observatory up my_module",
        ]
    return [
        f"  {'jobs' if index == 0 else '    '}     queue {queue}: {', '.join(sorted(names))}"
        for index, (queue, names) in enumerate(sorted(queues.items()))
    ]
