"""Hold docs/metrics.md and the alerts to the metrics that are written."""

from __future__ import annotations

import re

import yaml

from bulkgpt_watchd.adapters.metrics import CODES, ENDPOINTS, PREFIX, Meter
from bulkgpt_watchd.core.figures import FIGURES, VALUES, Sample
from bulkgpt_watchd.core.outcomes import OUTCOMES
from tests.pages import PAGES, ROOT, codes, table
from tests.promtool import promtool

METRICS, MONITORING = "docs/metrics.md", "docs/monitoring.md"
ALERTS = ROOT / "contrib" / "prometheus" / "alerts.yaml"


def every_sample() -> list[Sample]:
    """Give one sample of each figure."""
    return [Sample(name, tuple("x" for _ in figure.labels), 1) for name, figure in FIGURES.items()]


def written() -> list[list[str]]:
    """Give name, type, labels and meaning of all metrics of ours, as a page's table has them."""
    meter = Meter(lambda: 0.0)
    meter.render(every_sample())
    rows = []
    for family in meter.registry.collect():
        if family.name.startswith(PREFIX):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
            wanted = FIGURES[name.removeprefix(PREFIX)].labels if name.removeprefix(PREFIX) in FIGURES else labels
            rows.append([f"`{name}`", family.type, " ".join(f"`{label}`" for label in wanted), family.documentation])
    return rows


def label_values() -> list[list[str]]:
    """Give metric, label and values of all labels but `route`, as a page's table has them."""
    of_calls = {("api_…", "endpoint"): ENDPOINTS, ("api_…", "code"): CODES}
    rows = []
    for (name, label), values in {**VALUES, **of_calls}.items():
        told = " ".join(f"`{value}`" for value in values)
        told = "[the codes](../README.md#when-a-file-fails)" if values == tuple(OUTCOMES) else told
        rows.append([f"`{PREFIX}{name}`", f"`{label}`", told])
    return rows


def test_the_page_has_every_metric() -> None:
    assert table(METRICS, "metric", "type", "labels", "meaning") == written()


def test_the_page_has_every_value_of_a_label() -> None:
    assert table(METRICS, "metric", "label", "values") == label_values()


def test_prometheus_has_nothing_to_say_about_the_metrics() -> None:
    assert promtool("check", "metrics", text=Meter(lambda: 0.0).render(every_sample())) == (0, "")


def test_prometheus_takes_the_alerts() -> None:
    code, told = promtool("check", "rules", ALERTS)

    assert code == 0, told


def alerts() -> dict[str, str]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def test_the_page_says_what_to_do_about_each_alert() -> None:
    assert [codes(row[0]) for row in table(MONITORING, "alert", "what to do")] == [[name] for name in alerts()]


def test_alerts_and_examples_ask_for_metrics_that_there_are() -> None:
    there = {row[0].strip("`") for row in written()}
    text = " ".join(alerts().values()) + PAGES[MONITORING]

    assert set(re.findall(rf"{PREFIX}\w+", text)) - there == set()


def test_an_alert_asks_for_values_that_a_label_can_have() -> None:
    values = {value for told in (*VALUES.values(), ENDPOINTS, CODES) for value in told}
    asked = {part for words in re.findall(r'=~?"([^"]+)"', " ".join(alerts().values())) for part in words.split("|")}

    assert asked - values == {"bulkgpt-watchd"}, "the name of the scrape job"
