"""How many processors KEDA starts: its query, as Prometheus evaluates it, by what each is to take."""

import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml
from rendering import ROOT, of_kind, rendered

from development import installation

_ENGINES: Final = ("engine-1", "engine-2")
"""Two metrics engines, of which each tells of the whole system."""

CASES: Final = {
    # A value a quarter of a minute: jobs that wait, jobs that have ended; the processors; how many then.
    "at an even pace": ("600x40", "0+150x40", 2, 2.0),
    "four times as many wait": ("2400x40", "0+150x40", 2, 8.0),
    "nothing waits": ("0x40", "0+150x40", 2, 0.0),
    # Of the last five minutes four were idle: what it does since is what it can do.
    "after a pause": ("600x40", "0x36 150 300 450 600", 2, 2.0),
    # Nothing ends and nobody knows how long it takes: as many as there may be.
    "nothing ends": ("600x40", "0x40", 2, 200.0),
}


@pytest.mark.parametrize("case", CASES)
def test_as_many_as_empty_the_queues_within_a_minute(case: str, tmp_path: Path) -> None:
    waiting, ended, processors, wanted = CASES[case]
    (scaled,) = of_kind(rendered("overlays/production"), "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    series: dict[str, str] = {}
    for engine in _ENGINES:
        own = f'instance="{engine}",pod="{engine}",service="metrics-engine",job="observatory"'
        job = f'queue="default",job_type="a",{own}'
        series[f'observatory_jobs_in_state{{state="queued",{job}}}'] = waiting
        series[f'observatory_jobs_finished_total{{outcome="completed",{job}}}'] = ended
        series[f'observatory_workers{{state="active",{own}}}'] = f"{processors}x40"
    test = {
        "rule_files": [str(ROOT / "monitoring" / "prometheus" / "rules.yml")],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": one, "values": told} for one, told in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f"round(({trigger['metadata']['query']}) / {trigger['metadata']['threshold']}, 0.1)",
                        "eval_time": "10m",
                        "exp_samples": [{"labels": "{}", "value": wanted}],
                    }
                ],
            }
        ],
    }
    file = tmp_path / "scaling.yml"
    file.write_text(yaml.safe_dump(test))

    done = subprocess.run(
        [installation.promtool(), "test", "rules", str(file)], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
