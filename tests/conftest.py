"""What every test may ask for. Real services are in `real.py`; each test starts its own."""

from pathlib import Path

import hypothesis
import pytest

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
