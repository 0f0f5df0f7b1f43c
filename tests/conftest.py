"""What every test may ask for. Real services are in `real.py`; each test starts its own."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import shapes
from observatory.backends.sqlite.database import FILE_NAME
from observatory.backends.sqlite.migrate import migrate

# How long an example takes would only tell how busy the machine is.
hypothesis.settings.register_profile(
    "observatory",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    print_blob=True,
)
hypothesis.settings.load_profile("observatory")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of every asynchronous test."""
    return "asyncio"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database file: copying it is ten times faster than migrating another."""
    path = tmp_path_factory.mktemp("template") / FILE_NAME
    migrate(path)
    return path


@pytest.fixture(scope="module", autouse=True)
def shape(request: pytest.FixtureRequest) -> Iterator[str]:
    """The shape of the systems that the tests start; see `shapes.py`."""
    wanted: str = getattr(request, "param", shapes.EMBEDDED)
    shapes.begin(wanted)
    yield wanted
    shapes.end()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Where the tests are told of: tell of a failure when it happens."""
    if terminal := config.pluginmanager.getplugin("terminalreporter"):
        config.pluginmanager.register(AtOnce(terminal))


class AtOnce:
    """Names what fails when it fails, in case that whoever runs the tests ends them too early to
    read their summary."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            told = str(report.longrepr).strip().splitlines()
            self._terminal.write_line(f"\nFAILED {report.nodeid}", red=True)
            self._terminal.write_line("\n".join(told[-12:]))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, of the tests of one shape, their repetition in the other; slow files go first.

    As the tests of a file stay together, a slow one that begins last is waited for by all.
    """

    def repeated(item: pytest.Item) -> bool:
        given = getattr(item, "callspec", None)
        shape = None if given is None else given.params.get("shape")
        return shape == shapes.SHARED and item.get_closest_marker("embedded_only") is not None

    left_out = [item for item in items if repeated(item)]
    config.hook.pytest_deselected(items=left_out)
    kept = [item for item in items if item not in left_out]
    size = Counter(item.path for item in kept)
    slow = Counter(item.path for item in kept if item.get_closest_marker("slow"))
    items[:] = sorted(kept, key=lambda item: (-slow[item.path], -size[item.path], item.path))
