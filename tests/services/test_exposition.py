"""What Prometheus is told, also while a backend is away."""

from pathlib import Path

import pytest

from observatory.core.errors import SpineUnavailable, StoreUnavailable
from observatory.services.metrics_engine.exposition import Exposition
from services.embedding import Unreliable, bench

pytestmark = pytest.mark.anyio


def _up(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line.startswith("observatory_backend_up{")]
    return {line.split('"')[1]: line.split()[-1] for line in lines}


async def test_a_backend_that_is_away_takes_only_its_own_metrics_along(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        aggregates, spine = Unreliable(on.aggregates), Unreliable(on.spine)
        exposition = Exposition(on.store, spine, aggregates)

        text = (await exposition.render()).decode()
        assert _up(text) == {"store": "1.0", "spine": "1.0", "aggregates": "1.0"}
        assert "observatory_projection_lag_messages" in text

        aggregates.before("states", StoreUnavailable("away"))
        aggregates.before("series", StoreUnavailable("away"))
        text = (await exposition.render()).decode()
        assert _up(text) == {"store": "1.0", "spine": "1.0", "aggregates": "0.0"}
        assert "observatory_jobs_in_state" not in text
        assert "observatory_projection_lag_messages" not in text
        assert "observatory_log_last_offset" in text
        assert "observatory_outbox_pending" in text
        assert "process_resident_memory_bytes" in text

        spine.before("log_range", SpineUnavailable("away"))
        text = (await exposition.render()).decode()
        assert _up(text) == {"store": "1.0", "spine": "0.0", "aggregates": "1.0"}
        assert "observatory_log_last_offset" not in text
        assert "observatory_log_applied_offset" in text
