"""`observatory up`: the whole system in one process."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from observatory.interfaces.cli.output import Mistake, say

if TYPE_CHECKING:
    from collections.abc import Coroutine

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
    host: str | None = None,
    port: int | None = None,
    data: Path | None = None,
) -> int:
    """Serve the jobs of a module: API, page and processor, in one process, until Ctrl-C.

    For example:
      observatory up my_module
      observatory up my_module:app --port 9000 --data /var/lib/observatory
      observatory up --demo

    Args:
        module: Module that holds an `Observatory()`, as MODULE, MODULE:NAME or a .py file.
        demo: Serve the demo: one job for each file of Python's standard library.
        until_done: End when the demo is done.
        host: Address to listen on [env: OBSERVATORY_HOST; default: 127.0.0.1].
        port: Port to listen on [env: OBSERVATORY_PORT; default: 8080].
        data: Folder of the data [env: OBSERVATORY_DATA; default: .observatory].
    """
    if demo and module is not None:
        raise Mistake("--demo brings its own module; leave MODULE out")
    if port is not None and not 0 <= port <= 65535:
        raise Mistake(f"a port is a number from 0 to 65535, not {port}")
    if until_done and not demo:
        raise Mistake("--until-done goes with --demo")
    if demo:
        # The demo computes, and Python threads that compute take turns: more of them than
        # processors only make each run, and every answer of the page, take longer.
        os.environ.setdefault("OBSERVATORY_CONCURRENCY", str((os.cpu_count() or 1) + 1))
    application = _application(module, demo=demo)
    settings = _settings()
    return _serve(
        application,
        host=host or settings.host,
        port=settings.port if port is None else port,
        data=data or settings.data,
        demo=_demo(until_done=until_done) if demo else None,
    )


def _application(module: str | None, *, demo: bool) -> "Observatory":
    from observatory.core.application import Observatory
    from observatory.interfaces.cli.finding import find_application
    from observatory.interfaces.cli.shipped import shipped_folder

    if demo:
        return find_application(str(shipped_folder("examples") / DEMO))
    return Observatory() if module is None else find_application(module)


def _settings() -> "Settings":
    from pydantic import ValidationError

    from observatory.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = "_".join(map(str, first["loc"])).upper()
        raise Mistake(f"OBSERVATORY_{name}: {first['msg']}") from error


def _demo(*, until_done: bool) -> "Demo":
    from observatory.interfaces.cli.demo import Demo

    # SIGTERM to ourselves is the one way out that every part of the system knows.
    def end() -> None:
        if until_done:
            os.kill(os.getpid(), signal.SIGTERM)

    return Demo(when_done=end)


def _serve(
    application: "Observatory", *, host: str, port: int, data: Path, demo: "Demo | None"
) -> int:
    from observatory.assembly import serve

    def on_ready(url: str) -> None:
        say(describe(application, url, data))
        if demo:
            demo.start(url)

    try:
        code = _run(
            serve(application, host=host, port=port, data=data, page=_page(), on_ready=on_ready)
        )
    finally:
        if demo:
            demo.stop()
    return demo.code(code) if demo else code


def _run(system: "Coroutine[Any, Any, int]") -> int:
    """On uvloop where there is one."""
    try:
        from uvloop import run
    except ImportError:  # there is none for Windows
        from asyncio import run
    return run(system)


def _page() -> Path | None:
    """The built page; a checkout that was never built serves the APIs without it."""
    page = Path(__file__).parent.parent / "web" / "dist"
    return page if (page / "index.html").is_file() else None


def describe(application: "Observatory", url: str, data: Path) -> str:
    """What is served and where, for the terminal."""
    url = url.rstrip("/")
    lines = [
        f"observatory is ready at {url}",
        f"  page     {f'{url}/' if _page() else 'not built: run `npm run build` in web/'}",
        f"  API      {url}/jobs   docs {url}/docs   metrics {url}/metrics",
        f"  data     {data.absolute()}",
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
