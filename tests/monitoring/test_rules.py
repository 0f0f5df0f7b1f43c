"""The rules, as Prometheus itself evaluates them: each alert fires when it should and else not."""

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from development import installation
from monitoring import dashboards, scraping
from monitoring import rules as written
from monitoring.__main__ import HERE, dumped, files
from observatory.backends.rabbitmq.topology import DEAD, PARKED, STREAM, work_queue
from observatory.core import alert as known
from observatory.core.alert import AlertRule
from observatory.core.job_type import PRIORITIES
from observatory.runtime.metrics import ANSWER_WITHIN_S

ROOT = HERE.parent
QUEUE = 'queue="default",job_type="email.send"'
ENGINE = 'instance="engine:1",job="observatory",service="metrics-engine"'
ENGINE_2 = f'observatory_workers{{state="active",{ENGINE.replace("engine:1", "engine:2")}}}'
END_TO_END = "observatory_job_end_to_end_seconds_bucket"
FINISHED = "observatory_jobs_finished_total"
QUEUED = f'observatory_jobs_in_state{{{QUEUE},state="queued",{ENGINE}}}'
OLDEST = f'observatory_oldest_ready_job_timestamp_seconds{{queue="default",{ENGINE}}}'
GATEWAY = 'instance="gateway:1",job="observatory",service="gateway"'
INTERVAL = f"observatory_heartbeat_interval_seconds{{{GATEWAY}}}"
GATEWAY_STARTED = f"process_start_time_seconds{{{GATEWAY}}}"
ENGINE_STARTED = f"process_start_time_seconds{{{ENGINE}}}"
APPLIED = f"observatory_log_applied_offset{{{ENGINE}}}"
PAUSED = f'observatory_queue_paused_since_timestamp_seconds{{queue="default",{ENGINE}}}'
PAUSED_OTHER = PAUSED.replace("default", "other")
HEARTBEAT = f'observatory_heartbeat_last_seen_timestamp_seconds{{stage="completed",{ENGINE}}}'


@dataclass(frozen=True)
class Case:
    """Series as promtool writes them (a value a minute), and whether an alert then fires."""

    alert: str
    fires: bool
    series: dict[str, str]
    at: str = "1h"
    why: str = field(default="", compare=False)


def finished(failed: str, completed: str) -> dict[str, str]:
    """Jobs that ended, so many more each minute."""
    return {
        f'{FINISHED}{{{QUEUE},outcome="failed",{ENGINE}}}': failed,
        f'{FINISHED}{{{QUEUE},outcome="completed",{ENGINE}}}': completed,
    }


def ended_within(le_60: str, le_600: str) -> dict[str, str]:
    """Jobs by how long they took from submit to end."""
    return {
        f'{END_TO_END}{{{QUEUE},le="60",{ENGINE}}}': le_60,
        f'{END_TO_END}{{{QUEUE},le="600",{ENGINE}}}': le_600,
        f'{END_TO_END}{{{QUEUE},le="+Inf",{ENGINE}}}': le_600,
    }


def workers(active: str) -> dict[str, str]:
    return {f'observatory_workers{{state="active",{ENGINE}}}': active}


def engine(name: str, labels: str = "") -> str:
    return f"observatory_{name}{{{labels}{ENGINE}}}"


def broker_memory(used: str) -> dict[str, str]:
    return {
        'rabbitmq_process_resident_memory_bytes{instance="r"}': used,
        'rabbitmq_resident_memory_limit_bytes{instance="r"}': "100x60",
    }


def redis_memory(used: str, limit: str) -> dict[str, str]:
    return {
        'redis_memory_used_bytes{instance="r"}': used,
        'redis_memory_max_bytes{instance="r"}': limit,
    }


REPLICA = 'pg_stat_replication_pg_wal_lsn_diff{instance="p",application_name="standby"}'

CASES = (
    Case("ObservatoryServiceDown", True, {f"up{{{ENGINE}}}": "0x60"}),
    Case("ObservatoryServiceDown", False, {f"up{{{ENGINE}}}": "1x60"}),
    Case("ObservatoryServiceDown", False, {'up{job="another",instance="a"}': "0x60"}),
    Case("ObservatoryNoProcessors", True, workers("1 0x60")),
    Case("ObservatoryNoProcessors", False, workers("1x60")),
    Case(
        "ObservatoryNoProcessors",
        False,
        {**workers("0x60"), ENGINE_2: "1x60"},
        why="another engine knows of one",
    ),
    Case("ObservatoryBacklogGrowing", True, {QUEUED: "10+10x60", OLDEST: "0x60"}),
    Case("ObservatoryBacklogGrowing", False, {QUEUED: "700-10x60", OLDEST: "0x60"}, why="drains"),
    Case("ObservatoryBacklogGrowing", False, {QUEUED: "10+10x60", OLDEST: "0+60x60"}, why="young"),
    Case("ObservatoryJobLatencyHigh", True, ended_within("0+10x60", "0+20x60")),
    Case("ObservatoryJobLatencyHigh", False, ended_within("0+20x60", "0+20x60")),
    Case("ObservatoryJobFailureRatioHigh", True, finished("0+20x120", "0+80x120"), at="2h"),
    Case("ObservatoryJobFailureRatioHigh", False, finished("0+10x120", "0+90x120"), at="2h"),
    Case(
        "ObservatoryJobFailureRatioHigh",
        False,
        finished("0+50x90 4500x30", "0+50x120"),
        at="2h",
        why="it is over: the short window says so",
    ),
    Case(
        "ObservatoryJobFailureRatioHigh",
        False,
        finished("0x60 1x30", "0x90"),
        at="80m",
        why="one job of one",
    ),
    Case(
        "ObservatoryJobFailureRatioHigh",
        False,
        finished("0x60 1x2 2x30", "0x50 0+1x10 10x30"),
        at="67m",
        why="two jobs of twelve",
    ),
    Case("ObservatoryJobFailureRatioRaised", True, finished("0+8x480", "0+92x480"), at="8h"),
    Case("ObservatoryJobFailureRatioRaised", False, finished("0+5x480", "0+95x480"), at="8h"),
    Case("ObservatoryDeadLettersGrowing", True, {engine("dead_letters"): "0x50 1x10"}),
    Case("ObservatoryDeadLettersGrowing", False, {engine("dead_letters"): "5x60"}),
    Case(
        "ObservatoryLeasesExpiring",
        True,
        {engine("job_attempts_lost_total", f"{QUEUE},"): "0x54 16x6"},
    ),
    Case(
        "ObservatoryLeasesExpiring",
        False,
        {engine("job_attempts_lost_total", f"{QUEUE},"): "0x54 1x6"},
        why="one deploy that was killed",
    ),
    Case("ObservatoryOutboxStuck", True, {engine("outbox_oldest_timestamp_seconds"): "60x60"}),
    Case("ObservatoryOutboxStuck", False, {engine("outbox_oldest_timestamp_seconds"): "0+60x60"}),
    Case(
        "ObservatoryProjectionLagging",
        True,
        {
            engine("projection_last_event_timestamp_seconds"): "60x60",
            engine("projection_lag_messages"): "3x60",
        },
    ),
    Case(
        "ObservatoryProjectionLagging",
        False,
        {
            engine("projection_last_event_timestamp_seconds"): "60x60",
            engine("projection_lag_messages"): "0x60",
        },
        why="nothing happens",
    ),
    Case(
        "ObservatoryProjectionLagging",
        True,
        {engine("projection_lag_messages"): "3x60"},
        why="it has applied nothing since it started",
    ),
    Case(
        "ObservatoryProjectionLagging",
        False,
        {
            engine("projection_last_event_timestamp_seconds"): "0+60x60",
            engine("projection_lag_messages"): "3x60",
        },
        why="busy, and it keeps up",
    ),
    Case("ObservatoryHeartbeatStalled", True, {HEARTBEAT: "0+60x50 3000x10", INTERVAL: "15x60"}),
    Case("ObservatoryHeartbeatStalled", False, {HEARTBEAT: "0+60x60", INTERVAL: "15x60"}),
    Case(
        "ObservatoryHeartbeatStalled",
        False,
        {HEARTBEAT: "0+60x30 1800x30", INTERVAL: "15x30 0x30"},
        why="they were switched off",
    ),
    Case(
        "ObservatoryHeartbeatStalled",
        False,
        {HEARTBEAT: "0x10 600x10 1200x10 1800x10 2400x10 3000x10", INTERVAL: "600x60"},
        why="they are rare",
    ),
    Case(
        "ObservatoryHeartbeatStalled",
        True,
        {
            INTERVAL: "15x60",
            GATEWAY_STARTED: "60x60",
            ENGINE_STARTED: "60x60",
            APPLIED: "0x60",
        },
        why="none has ever come through",
    ),
    Case(
        "ObservatoryHeartbeatStalled",
        False,
        {INTERVAL: "15x60", GATEWAY_STARTED: "60x60", HEARTBEAT: "0+60x58 stale"}
        | {ENGINE_STARTED: "60x58 stale", APPLIED: "0x58 stale"},
        why="nobody is there to see one",
    ),
    Case(
        "ObservatoryHeartbeatStalled",
        False,
        {INTERVAL: "15x60", GATEWAY_STARTED: "60x60", HEARTBEAT: "0+60x50 stale"}
        | {ENGINE_STARTED: "60x50 stale _x6 3540x3", APPLIED: "0x50 stale _x6 0x3"},
        why="the engine has just started",
    ),
    Case(
        "ObservatoryHeartbeatStalled",
        False,
        {
            INTERVAL: "15x60",
            GATEWAY_STARTED: "3540x60",
            ENGINE_STARTED: "60x60",
            APPLIED: "0x60",
        },
        why="the gateway has just started",
    ),
    Case(
        "ObservatoryHeartbeatStalled",
        False,
        {
            INTERVAL: "0x60",
            GATEWAY_STARTED: "60x60",
            ENGINE_STARTED: "60x60",
            APPLIED: "0x60",
        },
        why="there are to be none",
    ),
    Case(
        "ObservatoryHeartbeatStalled",
        False,
        {HEARTBEAT: "0+60x30 1800x30", INTERVAL: "15x60", PAUSED: "_x29 1800x32"},
        why="they wait in a queue that is paused",
    ),
    Case(
        "ObservatoryHeartbeatStalled",
        False,
        {HEARTBEAT: "0+60x30 1800x30", INTERVAL: "15x60", PAUSED: "_x29 1800x30 stale"},
        why="their queue has just been resumed",
    ),
    Case(
        "ObservatoryHeartbeatStalled",
        False,
        {INTERVAL: "15x60", GATEWAY_STARTED: "60x60", PAUSED: "60x60"}
        | {ENGINE_STARTED: "60x60", APPLIED: "0x60"},
        why="their queue has been paused from the beginning",
    ),
    Case(
        "ObservatoryHeartbeatStalled",
        True,
        {HEARTBEAT: "0+60x30 1800x30", INTERVAL: "15x60", PAUSED_OTHER: "60x60"},
        why="another queue is paused",
    ),
    Case(
        "ObservatoryHeartbeatStalled",
        True,
        {HEARTBEAT.replace("completed", "accepted"): "0+60x30 1800x30"}
        | {INTERVAL: "15x60", PAUSED: "60x60"},
        why="they are accepted whether their queue is paused or not",
    ),
    Case(
        "ObservatoryHeartbeatStalled",
        False,
        {HEARTBEAT: "0+60x30 1800x30", INTERVAL: "15x60"}
        | {engine("backend_up", 'backend="spine",'): "1x60"}
        | {engine("backend_up", 'backend="aggregates",'): "1x30 0x30"},
        why="the only engine does not reach its aggregates, and sees none",
    ),
    Case(
        "ObservatoryHeartbeatStalled",
        True,
        {HEARTBEAT: "0+60x30 1800x30", INTERVAL: "15x60"}
        | {HEARTBEAT.replace("engine:1", "engine:2"): "0+60x30 1800x30"}
        | {engine("backend_up", 'backend="aggregates",'): "0x60"}
        | {engine("backend_up", 'backend="aggregates",').replace("engine:1", "engine:2"): "1x60"},
        why="another engine would see them",
    ),
    Case("ObservatoryBackendUnreachable", True, {engine("backend_up", 'backend="store",'): "0x60"}),
    Case(
        "ObservatoryBackendUnreachable", False, {engine("backend_up", 'backend="store",'): "1x60"}
    ),
    Case(
        "ObservatoryQueuePausedLong",
        True,
        {engine("queue_paused_since_timestamp_seconds", 'queue="default",'): "60x120"},
        at="2h",
    ),
    Case(
        "ObservatoryQueuePausedLong",
        False,
        {engine("queue_paused_since_timestamp_seconds", 'queue="default",'): "60x120"},
        at="50m",
    ),
    Case("ObservatoryNumbersMissing", True, {"any": "0x60"}),
    Case("ObservatoryNumbersMissing", False, {engine("log_applied_offset"): "0+1x60"}),
    Case(
        "ObservatoryBacklogGrowing",
        True,
        {QUEUED: "10000x120", OLDEST: "0x120"},
        at="2h",
        why="nobody takes from it, and it does not grow",
    ),
    Case(
        "ObservatoryJobFailureRatioHigh",
        True,
        finished("0+1x120", "0x120")
        | {
            f'{FINISHED}{{queue="default",job_type="observatory.heartbeat",outcome="completed",'
            f"{ENGINE}}}": "0+4x120"
        },
        at="2h",
        why="heartbeat jobs go well and hide nothing",
    ),
    Case("ObservatoryWatchdog", True, {"any": "0x60"}),
    Case("ObservatoryBrokerAlarm", True, {"rabbitmq_alarms_memory_used_watermark": "1x60"}),
    Case("ObservatoryBrokerAlarm", True, {"rabbitmq_alarms_free_disk_space_watermark": "1x60"}),
    Case("ObservatoryBrokerAlarm", False, {"rabbitmq_alarms_memory_used_watermark": "0x60"}),
    Case("ObservatoryBrokerUnacked", True, {"rabbitmq_queue_messages_unacked": "2000x60"}),
    Case("ObservatoryBrokerUnacked", False, {"rabbitmq_queue_messages_unacked": "2000x40 0x20"}),
    Case(
        "ObservatoryPostgresConnectionsHigh",
        True,
        {
            'pg_stat_activity_count{instance="p",datname="d",state="idle"}': "90x60",
            'pg_settings_max_connections{instance="p"}': "100x60",
        },
    ),
    Case(
        "ObservatoryPostgresConnectionsHigh",
        False,
        {
            'pg_stat_activity_count{instance="p",datname="d",state="idle"}': "30x60",
            'pg_settings_max_connections{instance="p"}': "100x60",
        },
    ),
    Case(
        "ObservatoryBrokerDiskLow",
        True,
        {
            "rabbitmq_disk_space_available_bytes": "90x60",
            "rabbitmq_disk_space_available_limit_bytes": "50x60",
        },
    ),
    Case(
        "ObservatoryBrokerDiskLow",
        False,
        {
            "rabbitmq_disk_space_available_bytes": "900x60",
            "rabbitmq_disk_space_available_limit_bytes": "50x60",
        },
    ),
    Case("ObservatoryBrokerMemoryHigh", True, broker_memory("90x60")),
    Case("ObservatoryBrokerMemoryHigh", False, broker_memory("70x60")),
    Case("ObservatoryRedisMemoryHigh", True, redis_memory("95x60", "100x60")),
    Case("ObservatoryRedisMemoryHigh", False, redis_memory("50x60", "100x60")),
    Case("ObservatoryRedisMemoryHigh", False, redis_memory("95x60", "0x60"), why="has no limit"),
    Case("ObservatoryPostgresReplicationLagging", True, {REPLICA: "100000000x60"}),
    Case("ObservatoryPostgresReplicationLagging", False, {REPLICA: "100000x60"}),
    Case("ObservatoryExporterDown", True, {'up{job="redis",instance="r"}': "1x50 0x10"}),
    Case("ObservatoryExporterDown", False, {'up{job="redis",instance="r"}': "1x60"}),
    Case(
        "ObservatoryEdgeUnavailable",
        True,
        {"nginx_connections_accepted": "0+60x60", "nginx_connections_handled": "0+30x60"},
    ),
    Case(
        "ObservatoryEdgeUnavailable",
        False,
        {"nginx_connections_accepted": "0+60x60", "nginx_connections_handled": "0+60x60"},
    ),
    Case(
        "ObservatoryEdgeUnavailable",
        False,
        {"nginx_connections_accepted": "0+600x60", "nginx_connections_handled": "0+599x60"},
        why="one connection in six hundred is no outage",
    ),
    Case("ObservatoryEdgeUnavailable", True, {"nginx_up": "0x60"}),
    Case("ObservatoryEdgeUnavailable", False, {"nginx_up": "1x60"}),
    Case("ObservatoryRedisEvicting", True, {'redis_evicted_keys_total{instance="r"}': "0+60x60"}),
    Case("ObservatoryRedisEvicting", False, {'redis_evicted_keys_total{instance="r"}': "60x60"}),
)


def test_the_files_are_as_they_would_be_written() -> None:
    stale = [str(p) for p, text in files("http://127.0.0.1:8080") if (HERE / p).read_text() != text]
    assert not stale, "run: python -m monitoring"


def compared_with(page: str) -> subprocess.CompletedProcess[str]:
    """The files beside those that would be written for this page."""
    return subprocess.run(
        [sys.executable, "-m", "monitoring", "--check", "--page", page],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_who_changed_a_file_by_hand_is_told(tmp_path: Path) -> None:
    done = compared_with("http://another.example")
    assert done.returncode == 1
    assert "prometheus/rules.yml" in done.stderr


@pytest.mark.parametrize(
    "page",
    ["javascript:alert(1)", "data:text/html,x", "jobs.example.com", "ftp://x", "http://", "http://[",
     "https://x?y=1", "https://x/#y", 'https://x"onclick', "https://x y"],
)  # fmt: skip
def test_a_page_is_at_an_address_that_a_browser_opens(page: str) -> None:
    done = compared_with(page)
    assert done.returncode == 2
    assert "give one such as https://" in done.stderr


def test_a_slash_at_the_end_of_the_pages_address_is_not_doubled() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "monitoring", "--check", "--page", "http://127.0.0.1:8080/"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    always = {known.WATCHDOG.name}
    assert {case.alert for case in CASES if case.fires} == set(written.names())
    assert {case.alert for case in CASES if not case.fires} | always == set(written.names())


def test_alerts_fire_when_they_should_and_else_not(tmp_path: Path) -> None:
    tests: list[dict[str, Any]] = []
    for case in CASES:
        firing = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})'
        tests.append(
            {
                "interval": "1m",
                "name": f"{case.alert} {'fires' if case.fires else 'is silent'} {case.why}",
                "input_series": [
                    {"series": name, "values": values} for name, values in case.series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": firing,
                        "eval_time": case.at,
                        "exp_samples": [{"labels": "{}", "value": 1}] if case.fires else [],
                    }
                ],
            }
        )
    promtool_test(tmp_path, tests)


def test_an_alert_says_what_is_wrong_since_when_and_where_to_read_on(tmp_path: Path) -> None:
    paused = known.QUEUE_PAUSED_LONG
    promtool_test(
        tmp_path,
        [
            {
                "interval": "1m",
                "input_series": [
                    {
                        "series": engine(
                            "queue_paused_since_timestamp_seconds", 'queue="default",'
                        ),
                        "values": "60x180",
                    }
                ],
                "alert_rule_test": [
                    {
                        "alertname": paused.name,
                        "eval_time": "2h1m",
                        "exp_alerts": [
                            {
                                "exp_labels": {
                                    "severity": "info",
                                    "queue": "default",
                                    "job": "observatory",
                                },
                                "exp_annotations": {
                                    "summary": "queue default has been paused for 2h 0m 0s",
                                    "description": "Somebody paused queue default more than an "
                                    "hour ago, and its jobs wait.",
                                    "runbook_url": "http://127.0.0.1:8080/runbooks/"
                                    "ObservatoryQueuePausedLong",
                                },
                            }
                        ],
                    }
                ],
            }
        ],
    )


@pytest.mark.parametrize(
    ("alert", "series", "told"),
    [
        (
            known.LEASES_EXPIRING,
            {engine("job_attempts_lost_total", f"{QUEUE},"): "0x54 3x6"},
            "3 runs were lost with their workers",
        ),
        (
            known.DEAD_LETTERS_GROWING,
            {engine("dead_letters"): "0x54 3x6"},
            "3 messages were laid aside as unreadable",
        ),
        (
            written.BROKER_UNACKED,
            {'rabbitmq_queue_messages_unacked{instance="r"}': "1234x60"},
            "1234 messages were delivered and not acknowledged for a quarter of an hour",
        ),
    ],
    ids=lambda one: one.name if isinstance(one, AlertRule) else "",
)
def test_what_is_counted_is_told_in_whole_numbers(
    alert: AlertRule, series: dict[str, str], told: str, tmp_path: Path
) -> None:
    (rule,) = (
        one
        for group in yaml.safe_load((HERE / "prometheus/rules.yml").read_text())["groups"]
        for one in group["rules"]
        if one.get("alert") == alert.name
    )
    labels = {"severity": alert.severity.value}
    if "observatory" in next(iter(series)):
        labels["job"] = "observatory"
    annotations = {
        "summary": told,
        "description": rule["annotations"]["description"],
        "runbook_url": rule["annotations"]["runbook_url"],
    }
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {
                "alertname": alert.name,
                "eval_time": "1h",
                "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}],
            }
        ],
    }
    promtool_test(tmp_path, [test])


def test_panels_of_what_nobody_tells_of_are_empty(tmp_path: Path) -> None:
    (board,) = (one for one in dashboards.ALL if one.uid == "observatory-backends")
    exprs = [expr for panel in board.panels for expr in panel.queries.values()]
    told = [{"expr": expr, "eval_time": "10m", "exp_samples": []} for expr in exprs]
    test = {
        "interval": "1m",
        "input_series": [{"series": "any", "values": "0x10"}],
        "promql_expr_test": told,
    }
    promtool_test(tmp_path, [test])


def test_no_panel_counts_the_event_log_as_waiting_work() -> None:
    exprs = [e for one in dashboards.ALL for panel in one.panels for e in panel.queries.values()]
    assert not [expr for expr in exprs if re.search(r"rabbitmq_queue_messages(_ready)?\b", expr)]
    by_queue = [expr for expr in exprs if "rabbitmq_detailed_queue_messages" in expr]
    assert len(by_queue) == 1
    (pattern,) = re.findall(r'queue=~"([^"]*)"', by_queue[0])
    chosen = re.compile(pattern.replace(r"\\", "\\"))
    for priority in PRIORITIES:
        assert chosen.fullmatch(work_queue("default", priority))
    assert not [name for name in (STREAM, DEAD, PARKED) if chosen.fullmatch(name)]


@pytest.mark.parametrize(
    "configuration",
    [scraping.services(), scraping.compose(), scraping.kubernetes()],
    ids=["services", "compose", "kubernetes"],
)
def test_work_is_scraped_queue_by_queue_and_the_log_is_not(configuration: dict[str, Any]) -> None:
    (job,) = (one for one in configuration["scrape_configs"] if "params" in one)
    (kept,) = job["metric_relabel_configs"]
    assert (kept["source_labels"], kept["action"]) == (["queue"], "keep")
    assert re.fullmatch(kept["regex"], work_queue("default", "high"))
    assert not [name for name in (STREAM, DEAD, PARKED, "") if re.fullmatch(kept["regex"], name)]


def test_a_prometheus_that_was_away_calls_nobody_for_what_it_has_not_seen(tmp_path: Path) -> None:
    # It begins with what it scraped last, minutes ago, and has asked every process again within
    # half a minute; a heartbeat job came through all the while.
    series = {HEARTBEAT: "-200 _ 30+15x20", INTERVAL: "15 _ 15x20"}

    def alerts(state: str, at_s: int, count: int) -> dict[str, Any]:
        name = known.HEARTBEAT_STALLED.name
        return {
            "expr": f'count(ALERTS{{alertname="{name}",alertstate="{state}"}})',
            "eval_time": f"{at_s}s",
            "exp_samples": [{"labels": "{}", "value": count}] if count else [],
        }

    test = {
        "interval": f"{scraping.INTERVAL_S}s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            alerts("pending", 15, 1),
            *(alerts("firing", at_s, 0) for at_s in range(0, 300, 15)),
            alerts("pending", 30, 0),
        ],
    }
    promtool_test(tmp_path, [test], every_s=scraping.INTERVAL_S)


def promtool_test(folder: Path, tests: list[dict[str, Any]], every_s: int = 60) -> None:
    """Have promtool evaluate the rules over these series, so often."""
    file = folder / "tests.yml"
    file.write_text(
        dumped(
            {
                "rule_files": [str(HERE / "prometheus/rules.yml")],
                "evaluation_interval": f"{every_s}s",
                "tests": tests,
            }
        )
    )
    promtool("test", "rules", str(file))


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [installation.promtool(), *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_and_alertmanager_accept_every_file(tmp_path: Path) -> None:
    promtool("check", "rules", str(HERE / "prometheus/rules.yml"))
    for name in ("embedded", "services"):
        promtool("check", "config", str(HERE / f"prometheus/{name}.yml"))
    amtool = [installation.amtool(), "check-config", str(HERE / "alertmanager/alertmanager.yml")]
    done = subprocess.run(amtool, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["kubernetes", "compose"])
def test_prometheus_accepts_the_file_for_containers(name: str, tmp_path: Path) -> None:
    configuration: Any = yaml.safe_load((HERE / f"prometheus/{name}.yml").read_text())
    found = [*configuration["alerting"]["alertmanagers"], *configuration["scrape_configs"]]
    for one in found if name == "kubernetes" else ():
        # Debian's Prometheus is built without the discovery of Kubernetes: all but that is checked.
        assert one.pop("kubernetes_sd_configs")[0]["role"] in {"pod", "endpoints"}
    # A key is mounted there; promtool wants to see the file.
    key = tmp_path / "key"
    key.touch()
    ours, *backends = configuration["scrape_configs"]
    assert ours["authorization"].pop("credentials_file") == scraping.KEY_FILE
    ours["authorization"]["credentials_file"] = str(key)
    assert backends
    assert not any("authorization" in one for one in backends), "the key is for our services alone"
    file = tmp_path / f"{name}.yml"
    file.write_text(dumped(configuration))
    (tmp_path / "rules.yml").write_text((HERE / "prometheus/rules.yml").read_text())
    promtool("check", "config", str(file))


def test_a_scrape_has_time_to_tell_of_a_backend_that_hangs() -> None:
    # Prometheus waits for ten seconds, or for its interval where that is shorter.
    assert min(10, scraping.INTERVAL_S) > ANSWER_WITHIN_S * 1.5
    guide = " ".join((ROOT / "docs/guide/monitoring.md").read_text().split())
    assert f"the files have {scraping.INTERVAL_S} s" in guide
    assert f"with one of {ANSWER_WITHIN_S:g} s or less" in guide


@pytest.mark.parametrize("factor", [1, 60])
def test_time_may_pass_faster(factor: int, tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(dumped(written.rules(written.Pace(factor, 5))))
    promtool("check", "rules", str(file))
    waits = {
        a["for"]
        for group in yaml.safe_load(file.read_text())["groups"]
        for a in group["rules"]
        if "for" in a
    }
    assert waits == ({"0s", "1m", "2m", "5m", "15m"} if factor == 1 else {"0s", "5s", "15s"})


def test_services_are_where_the_guide_starts_them() -> None:
    guide = (ROOT / "docs" / "guide" / "distributed.md").read_text()
    started = dict(re.findall(r"^observatory ([a-z-]+).* --port (\d+)$", guide, re.MULTILINE))
    text = (HERE / "prometheus/services.yml").read_text()

    assert {name: str(port) for name, port in scraping.PORTS.items()} == started
    assert all(f"127.0.0.1:{port}" in text for port in started.values())
    # Links lead to the edge; a service that took its port would answer them with 404.
    assert "| `EDGE_LISTEN` | where it listens, as `127.0.0.1:8080` |" in guide
    assert "8080" not in started.values()
