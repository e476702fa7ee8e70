"""Let Prometheus itself say when each alert fires, and when it is silent."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.pages import ROOT
from tests.promtool import promtool

ALERTS = ROOT / "contrib" / "prometheus" / "alerts.yaml"

FROM = 'job="bulkgpt-watchd",instance="a:1"'

CALLS = 'api_requests_total{endpoint="status",code="%s"}'

CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "Down": ({"up": "0x120"}, {"up": "1x120"}),
    "NeedsDecision": (
        {'failed_files{route="r",code="submission_unknown"}': "2x120"},
        {'failed_files{route="r",code="duplicate"}': "2x120"},
    ),
    "KeyRefused": ({"gate_denied": "1x120"}, {"gate_denied": "0x120"}),
    "GateNeedsResume": ({"gate_needs_resume": "1x120"}, {"gate_needs_resume": "0x120"}),
    "GateShut": ({"gate_open": "0x120"}, {"gate_open": "0x10 1x110"}),
    "ApiDown": (
        {CALLS % "unreachable": "0+1x120", CALLS % "2xx": "5x120"},
        {CALLS % "unreachable": "0+1x120", CALLS % "2xx": "0+1x120"},
    ),
    "BudgetUsedUp": ({'budget_used_up{route="*"}': "1x120"}, {'budget_used_up{route="*"}': "0x120"}),
    "TooLargeForBudget": (
        {'budget_too_large_files{route="r"}': "1x120"},
        {'budget_too_large_files{route="r"}': "0x120", 'budget_waiting_files{route="r"}': "3x120"},
    ),
    "RouteUnavailable": (
        {'route_available{route="r"}': "0x120", 'route_paused{route="r"}': "0x120"},
        {'route_available{route="r"}': "0x120", 'route_paused{route="r"}': "1x120"},
    ),
    "RouteHeld": ({'route_held{route="r"}': "1x120"}, {'route_held{route="r"}': "0x120"}),
    "NotScanning": (
        {'scan_last_success_timestamp_seconds{route="r"}': "0x120", 'route_available{route="r"}': "1x120"},
        {'scan_last_success_timestamp_seconds{route="r"}': "0+60x120", 'route_available{route="r"}': "1x120"},
    ),
    "Stuck": (
        {'oldest_job_age_seconds{route="r",state="waiting"}': "30000x120", 'route_paused{route="r"}': "0x120"},
        {'oldest_job_age_seconds{route="r",state="waiting"}': "30000x120", 'route_paused{route="r"}': "1x120"},
    ),
    "RunsLong": (
        {'oldest_job_age_seconds{route="r",state="running"}': "90000x120"},
        {'oldest_job_age_seconds{route="r",state="running"}': "80000x120"},
    ),
    "FilesFail": (
        {'jobs_failed_total{route="r",code="rejected"}': "0+1x120"},
        {'jobs_failed_total{route="r",code="rejected"}': "3x120"},
    ),
    "DiskLow": ({'disk_low{route="r"}': "1x120"}, {'disk_low{route="r"}': "0x120"}),
    "StateUnwritable": ({"state_writable": "0x120"}, {"state_writable": "1x120"}),
    "ReloadFailed": ({"config_last_reload_successful": "0x120"}, {"config_last_reload_successful": "1x120"}),
}
"""What each alert sees when it should fire after two hours, and when it should not, a value each minute."""


def series(name: str, values: str) -> dict[str, str]:
    """Give what promtool takes for one series, as a scrape would have it."""
    metric, _, labels = name.partition("{")
    metric = metric if metric == "up" else f"bulkgpt_watchd_{metric}"
    return {"series": "{}{{{}}}".format(metric, ",".join(filter(None, (FROM, labels.rstrip("}"))))), "values": values}


def firing(folder: Path, told: dict[str, str], which: str, number: int) -> tuple[int, str]:
    """Let promtool say whether so many of these alerts fire after two hours of this."""
    asked = {
        "expr": f'count(ALERTS{{alertstate="firing",alertname=~"{which}"}}) or vector(0)',
        "eval_time": "2h",
        "exp_samples": [{"labels": "{}", "value": number}],
    }
    test = {
        "interval": "1m",
        "input_series": [series(name, values) for name, values in told.items()],
        "promql_expr_test": [asked],
    }
    content = {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}
    (folder / "test.yaml").write_text(yaml.safe_dump(content))
    return promtool("test", "rules", folder / "test.yaml")


def test_each_alert_has_its_case() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]

    assert [rule["alert"].removeprefix("BulkgptWatchd") for rule in group["rules"]] == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_where_it_should(name: str, tmp_path: Path) -> None:
    code, told = firing(tmp_path, CASES[name][0], f"BulkgptWatchd{name}", 1)

    assert code == 0, told


@pytest.mark.parametrize("name", CASES)
def test_no_alert_fires_where_none_should(name: str, tmp_path: Path) -> None:
    code, told = firing(tmp_path, CASES[name][1], ".+", 0)

    assert code == 0, told
