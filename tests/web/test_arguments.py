"""What an act is asked with is taken as it is meant, or refused: nobody pays twice for a word in quotes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bulkgpt_watchd.scheduler.acts import Acts
from bulkgpt_watchd.service.daemon import Service
from bulkgpt_watchd.web.arguments import LONGEST_S, arguments_of


def acts() -> Acts:
    """Give acts whose signatures are asked, and which are never carried out."""
    return Acts.__new__(Acts)


@pytest.mark.parametrize(
    ("act", "arguments"),
    [
        ("retry", {"jobs": ["a", "b"], "failed": False, "route": None, "pay_again": True}),
        ("resolve", {"job_id": "a", "task_id": None, "not_submitted": True}),
        ("pause", {"route": "leads", "for_s": 3600, "reason": "the dashboard says so"}),
        ("pause", {"for_s": 0.5}),
        ("pause", {"for_s": LONGEST_S}),
        ("prune", {"older_than_s": 0, "dry_run": False}),
        ("scan", {}),
    ],
)
def test_what_the_commands_send_is_taken(act: str, arguments: dict[str, Any]) -> None:
    assert arguments_of(getattr(acts(), act), json.dumps(arguments).encode()) == arguments


@pytest.mark.parametrize("act", ["scan", "pause", "resume", "retry", "prune"])
def test_who_says_nothing_asks_for_the_usual(act: str) -> None:
    assert arguments_of(getattr(acts(), act), b"") == {}


@pytest.mark.parametrize(
    ("act", "body", "told"),
    [
        ("retry", '{"jobs": ["a"], "pay_again": "false"}', "pay_again must be true or false"),
        ("retry", '{"jobs": ["a"], "pay_again": 1}', "pay_again must be true or false"),
        ("retry", '{"failed": "no"}', "failed must be true or false"),
        ("retry", '{"jobs": "abc"}', "jobs must be a list of texts"),
        ("retry", '{"jobs": [5]}', "jobs must be a list of texts"),
        ("retry", '{"jobs": [{}]}', "jobs must be a list of texts"),
        ("resume", '{"over_budget": "no"}', "over_budget must be true or false"),
        ("resume", '{"route": ["leads"]}', "route must be a line of text or null"),
        ("resolve", "{}", "job_id is missing"),
        ("resolve", '{"job_id": 5}', "job_id must be a line of text"),
        ("resolve", '{"job_id": "a", "task_id": 1}', "task_id must be a line of text or null"),
        ("pause", '{"for_s": "4h"}', "for_s must be a number of seconds, at most 3153600000 or null"),
        ("pause", '{"for_s": -1}', "for_s must be a number"),
        ("pause", '{"for_s": 1e400}', "for_s must be a number"),
        ("pause", '{"for_s": NaN}', "for_s must be a number"),
        ("pause", '{"for_s": 1e12}', "for_s must be a number"),
        ("pause", '{"for_s": true}', "for_s must be a number"),
        ("pause", '{"reason": {"a": 1}}', "reason must be a line of text or null"),
        ("pause", r'{"reason": "\u001b[31m"}', "reason must be a line of text or null"),
        ("pause", r'{"reason": "\ud800"}', "reason must be a line of text or null"),
        ("prune", '{"dry_run": "no"}', "dry_run must be true or false"),
        ("prune", '{"older_than_s": -1}', "older_than_s must be a number"),
        ("scan", '{"by": "root"}', "unknown argument 'by'; there are: route"),
        ("scan", '{"self": 1}', "unknown argument 'self'; there are: route"),
        ("scan", "[]", "the body must be a JSON object"),
        ("scan", "null", "the body must be a JSON object"),
        ("scan", "{", "the body must be a JSON object"),
        ("scan", "[" * 100_000, "the body must be a JSON object"),
        ("scan", "\ufffe", "the body must be a JSON object"),
    ],
)
def test_what_is_not_of_its_kind_is_refused_in_plain_words(act: str, body: str, told: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        arguments_of(getattr(acts(), act), body.encode())

    assert str(refused.value).startswith(told)


def test_an_act_that_takes_nothing_says_so() -> None:
    with pytest.raises(ValueError, match="unknown argument 'x'; there are: none"):
        arguments_of(Service.__new__(Service).reload, b'{"x": 1}')
