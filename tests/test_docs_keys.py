"""Hold every key, setting, default and word of the documentation to the configuration and the code."""

from __future__ import annotations

import re
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import yaml

from bulkgpt_watchd.adapters.metrics import PREFIX
from bulkgpt_watchd.config import load
from bulkgpt_watchd.config.models import ConfigFile
from bulkgpt_watchd.config.route import RouteEntry
from bulkgpt_watchd.config.wording import section_in
from bulkgpt_watchd.core import shown
from bulkgpt_watchd.core.figures import FIGURES
from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.ledger import AMOUNTS
from bulkgpt_watchd.core.outcomes import OUTCOMES
from bulkgpt_watchd.scheduler.acts import Acts
from bulkgpt_watchd.service.daemon import ACTS
from tests.pages import BY_HAND, PAGES, ROOT, blocks, codes, table
from tests.sample_jobs import sample_job

JOB = sample_job("h3k9p2mv", code="rejected")

SMALLEST = {"name": "leads", "workflow_id": "w", "folder": "leads"}


def keys_of(section: Any, prefix: str = "") -> set[str]:
    """Give every key of a section by its dotted name."""
    found = set()
    for name, field in section.model_fields.items():
        found.add(f"{prefix}{name}")
        if inner := section_in(field.annotation):
            found |= keys_of(inner, f"{prefix}{name}.")
    return found


TOP = keys_of(ConfigFile)
KEYS = TOP | keys_of(RouteEntry)
EVENTS = {code for row in table("docs/messages.md", "event", "level", "facts", "when") for code in codes(row[0])}
FACTS = {code for row in table("docs/messages.md", "event", "level", "facts", "when") for code in codes(row[2])}


@pytest.mark.parametrize("name", BY_HAND)
def test_every_key_that_is_told_exists(name: str) -> None:
    heads = {key.partition(".")[0] for key in KEYS if "." in key}
    dotted = {code for code in codes(PAGES[name]) if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", code)} - EVENTS

    assert {key for key in dotted if key.partition(".")[0] in heads} - KEYS == set()


def settings_of(name: str) -> list[str]:
    return [code for code in codes(PAGES[name]) if re.match(r"[a-z_.]+: \S", code)]


@pytest.mark.parametrize("setting", sorted({setting for name in BY_HAND for setting in settings_of(name)}))
def test_every_setting_that_is_told_is_right(setting: str, tmp_path: Path) -> None:
    key, _, content = setting.partition(": ")
    *above, last = key.split(".")
    content = f"{last}: {content}"
    for part in reversed(above):
        content = f"{part}: {{{content}}}"
    of_route = "".join(f"    {key}: {value}\n" for key, value in SMALLEST.items()).replace("    ", "  - ", 1)
    text = f"routes:\n{of_route}"
    (tmp_path / "config.yaml").write_text(f"{text}{content}\n" if key in TOP else f"{text}    {content}\n")

    load(tmp_path / "config.yaml")


@pytest.mark.parametrize("name", BY_HAND)
def test_every_configuration_that_is_shown_is_right(name: str, tmp_path: Path) -> None:
    for config in blocks(PAGES[name], "yaml"):
        (tmp_path / "config.yaml").write_text(config)
        load(tmp_path / "config.yaml")


@pytest.mark.parametrize("name", BY_HAND)
def test_every_default_that_is_told_is_the_example_s(name: str) -> None:
    example = yaml.safe_load((ROOT / "config.example.yaml").read_text())["routes"][0]
    told = re.findall(r"`(\w+)` \((\d\w*)[;)]", PAGES[name])

    assert told == [(key, str(example[key])) for key, _ in told]


@pytest.mark.parametrize("name", BY_HAND)
def test_every_word_with_an_underscore_is_one_of_ours(name: str) -> None:
    """A misspelt key, code, field or fact would be none."""
    known = {part for key in KEYS for part in key.split(".")} | OUTCOMES.keys() | FACTS
    known |= {f"{PREFIX}{name}" for name in FIGURES}
    known |= {argument for name in ACTS for argument in signature(getattr(Acts, name)).parameters}
    known |= {field.name for field in fields(Job)} | set(AMOUNTS) | shown.row(JOB).keys()
    known |= shown.error_file(JOB, has_source=True).keys()
    known |= shown.receipt(JOB, has_source=False, is_changed=True).keys()

    assert {code for code in codes(PAGES[name]) if re.fullmatch(r"[a-z]+(_[a-z]+)+", code)} - known == set()


def test_every_column_of_the_report_is_told() -> None:
    assert [code for row in table("docs/money.md", "column", "meaning") for code in codes(row[0])] == list(AMOUNTS)
