"""Measures the running Python's standard library: the work of `observatory up --demo`.

The work is real: each `source.analyze` job reads one file and measures it with `ast` and
`tokenize`. Files that Python's own tests keep broken on purpose truly fail. One thing is simulated
and says so wherever it shows: for about three files in a hundred the first read fails, so that a
retry can be seen.

Serve it without the driver, and submit to it by hand:

    observatory up examples/standard_library.py
    observatory submit source.analyze path=json/decoder.py --wait
"""

import ast
import io
import sysconfig
import threading
import tokenize
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import anyio

from observatory import JobContext, NonRetryable, Observatory, Retry
from observatory.client import AsyncClient, Job

STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()

LARGE_BYTES = 60_000
"""A file from this size on takes long enough to be worth reporting on."""

FLAKY_PERCENT = 3
"""How many files in a hundred have the simulated failure of their first read."""

ACTIVE = ("scheduled", "queued", "running", "retrying")

# Old test files are full of invalid escapes; Python would print a warning for each one it parses.
warnings.filterwarnings("ignore", category=SyntaxWarning)
warnings.filterwarnings("ignore", category=DeprecationWarning, message="invalid (escape|octal)")

# Python 3.11.7, and others near it, keep the depth within a tree for all threads together: where
# two parse at once, one may end with SystemError, "AST constructor recursion depth mismatch". No
# time is lost by taking turns, as one thread runs at a time anyway.
_PARSING = threading.Lock()

app = Observatory()


def source_files() -> list[str]:
    """Every source file of the standard library, relative to its folder."""
    found = (path.relative_to(STANDARD_LIBRARY) for path in STANDARD_LIBRARY.rglob("*.py"))
    return sorted(
        path.as_posix()
        for path in found
        if not {"site-packages", "dist-packages", "__pycache__"} & set(path.parts)
    )


@app.job(
    "source.analyze",
    queue="analysis",
    max_attempts=3,
    timeout=60,
    retry=Retry(base=0.5, factor=2.0, cap=5.0),
)
def analyze(path: str, ctx: JobContext) -> dict[str, Any]:
    """Measure one file of the standard library."""
    source = _read(path, ctx)
    large = len(source) > LARGE_BYTES
    if large:
        ctx.log.info("a large file", path=path, bytes=len(source))
        ctx.progress(0.2, "read")
    try:
        text = _decoded(source)
        code_lines = _code_lines(text)
        if large:
            ctx.progress(0.5, "tokens counted")
        with _PARSING:
            tree = ast.parse(text, filename=path)
    except (SyntaxError, UnicodeDecodeError, tokenize.TokenError, ValueError) as error:
        # The file will be no better next time.
        raise NonRetryable(f"{path} is not Python: {type(error).__name__}: {error}") from error
    if large:
        ctx.progress(0.8, "parsed")
    lines = text.count("\n") + (not text.endswith("\n"))
    return {"path": path, "lines": lines, "codeLines": code_lines, **_measures(tree)}


def _read(path: str, ctx: JobContext) -> bytes:
    file = (STANDARD_LIBRARY / path).resolve()
    if not file.is_relative_to(STANDARD_LIBRARY):
        raise NonRetryable(f"{path} is not in the standard library")
    if ctx.attempt == 1 and zlib.crc32(path.encode()) % 100 < FLAKY_PERCENT:
        ctx.log.warning("simulated: this first read fails on purpose", path=path)
        raise OSError(f"simulated: the first read of {path} fails")
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise NonRetryable(f"there is no {path} in {STANDARD_LIBRARY}") from error


def _decoded(source: bytes) -> str:
    """As Python decodes it: by the byte order mark or the coding line, else UTF-8."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    try:
        return io.TextIOWrapper(io.BytesIO(source), encoding).read()
    except LookupError as error:
        raise SyntaxError(f"unknown encoding {encoding}") from error


def _code_lines(text: str) -> int:
    """Lines that hold code: neither blank nor only a comment."""
    without_code = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in without_code:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines)


Function = ast.FunctionDef | ast.AsyncFunctionDef

BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.comprehension,
    ast.match_case,
    ast.Assert,
)
"""Each adds a path through a function (McCabe, "A Complexity Measure", 1976)."""


def _measures(tree: ast.Module) -> dict[str, Any]:
    nodes = list(ast.walk(tree))
    counts = Counter(map(type, nodes))
    functions = [(node, _complexity(node)) for node in nodes if isinstance(node, Function)]
    longest = max((function for function, _ in functions), key=_length, default=None)
    hardest, paths = max(functions, key=lambda pair: pair[1], default=(None, 0))
    return {
        "functions": len(functions),
        "classes": counts[ast.ClassDef],
        "imports": counts[ast.Import] + counts[ast.ImportFrom],
        "maxDepth": _depth(tree),
        "longestFunction": longest and {"name": longest.name, "lines": _length(longest)},
        "mostComplex": hardest and {"name": hardest.name, "complexity": paths},
        "complexity": sum(complexity for _, complexity in functions),
    }


def _length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _complexity(function: Function) -> int:
    complexity = 1
    for node in ast.walk(function):
        if isinstance(node, ast.BoolOp):
            complexity += len(node.values) - 1
        elif isinstance(node, BRANCHES):
            complexity += 1
    return complexity


def _depth(tree: ast.AST) -> int:
    """How deep statements are nested; a stack of our own, as some test files nest very deep."""
    deepest, todo = 0, [(tree, 0)]
    while todo:
        node, depth = todo.pop()
        deepest = max(deepest, depth)
        inner = depth + isinstance(node, ast.stmt)
        todo.extend((child, inner) for child in ast.iter_child_nodes(node))
    return deepest


@app.job("source.summarize", queue="reports", max_attempts=3, timeout=900)
async def summarize(run: str, url: str, ctx: JobContext) -> dict[str, Any]:
    """Wait until every file of a run is measured, then collect what was found.

    Reads through the same HTTP interface as everybody; `run` is the jobs' correlation id.
    """
    async with AsyncClient(url, patience=60) as client:
        while left := await _count_active(client, run):
            ctx.progress(None, f"waits for {left} files")
            await anyio.sleep(1)
        jobs = [j async for j in client.jobs(correlation_id=run, type="source.analyze")]
        ctx.log.info("all files have ended", files=len(jobs))
        measured = await _results(client, [job.id for job in jobs if job.state == "completed"], ctx)
        timings = _timings(jobs)
        percentiles = await _percentiles(client, timings["tookSeconds"]) if jobs else {}
    return {
        "files": len(jobs),
        "states": dict(Counter(job.state for job in jobs)),
        "attempts": sum(job.attempt for job in jobs),
        **_totals(measured),
        **timings,
        **percentiles,
        "failures": _failures(jobs),
    }


async def _count_active(client: AsyncClient, run: str) -> int:
    page = await client.read(
        "/jobs",
        {
            "correlationId": run,
            "type": "source.analyze",
            "state": ",".join(ACTIVE),
            "limit": "200",
        },
    )
    return len(page["items"])


async def _results(client: AsyncClient, ids: list[str], ctx: JobContext) -> list[dict[str, Any]]:
    """The result of each job; lists of jobs leave results out."""
    found: list[dict[str, Any]] = []
    todo: Iterator[str] = iter(ids)

    async def collect() -> None:
        for job_id in todo:
            found.append((await client.job(job_id)).result)
            if len(found) % 200 == 0:
                ctx.progress(len(found) / len(ids), f"{len(found)} of {len(ids)} results read")

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(collect)
    return found


def _totals(measured: list[dict[str, Any]]) -> dict[str, Any]:
    sums = ("lines", "codeLines", "functions", "classes", "imports", "complexity")
    by_lines = sorted(measured, key=lambda m: -m["lines"])[:5]
    functions = [m for m in measured if m["mostComplex"]]
    hardest = sorted(functions, key=lambda m: -m["mostComplex"]["complexity"])[:5]
    longest = sorted(functions, key=lambda m: -m["longestFunction"]["lines"])[:5]
    return {
        "totals": {name: sum(m[name] for m in measured) for name in sums},
        "largest": [{"path": m["path"], "lines": m["lines"]} for m in by_lines],
        "mostComplex": [{"path": m["path"], **m["mostComplex"]} for m in hardest],
        "longestFunctions": [{"path": m["path"], **m["longestFunction"]} for m in longest],
        "deepest": max((m["maxDepth"] for m in measured), default=0),
    }


def _timings(jobs: list[Job]) -> dict[str, Any]:
    """How long it took from first accepted to last ended, and the rate."""
    ended = [job.finished_at for job in jobs if job.finished_at]
    created = [job.created_at for job in jobs if job.created_at]
    took_s = (max(ended) - min(created)).total_seconds() if ended and created else 0.0
    return {
        "tookSeconds": round(took_s, 3),
        "jobsPerSecond": round(len(ended) / took_s, 1) if took_s > 0 else None,
    }


async def _percentiles(client: AsyncClient, took_s: float) -> dict[str, Any]:
    """Waits and runs as the page and `observatory stats` tell them, of every attempt within the
    last quarter of an hour, or longer where the run took longer."""
    window_s = max(900, min(86_400, ceil(took_s) + 60))
    files: dict[str, Any] = {}
    for _ in range(50):
        files = (await client.stats(window=window_s))["types"].get("source.analyze", {})
        if files and not any(files["states"][state] for state in ACTIVE):
            break
        await anyio.sleep(0.2)  # the figures follow the record a moment later
    return {
        "windowSeconds": window_s,
        "waitSeconds": files.get("waitSeconds"),
        "runSeconds": files.get("runSeconds"),
    }


def _failures(jobs: list[Job]) -> list[dict[str, Any]]:
    """Failed jobs by what they failed with; the text up to the colon tells the kind."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        if job.state == "failed" and job.error:
            groups.setdefault(_kind(job.error.message) or job.error.type, []).append(job)
    return [
        {
            "error": kind,
            "count": len(group),
            "example": group[0].error.message if group[0].error else "",
        }
        for kind, group in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]


def _kind(message: str) -> str:
    _, found, rest = message.partition(" is not Python: ")
    return rest.partition(":")[0] if found else ""
