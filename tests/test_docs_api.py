"""Hold what docs/monitoring.md says of acts over HTTP to the acts themselves."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from bulkgpt_watchd.scheduler.acts import Acts
from bulkgpt_watchd.service import daemon
from tests.pages import codes, table


def arguments(act: Callable[..., Any]) -> set[str]:
    return set(signature(act).parameters) - {"self", "by"}


def test_the_page_has_every_act_and_all_that_it_may_be_asked_with() -> None:
    acts = {"reload": daemon.Service.reload, **{name: getattr(Acts, name) for name in daemon.ACTS}}
    rows = {
        codes(act)[0]: set(codes(told)) - set(acts) for act, told in table("docs/monitoring.md", "act", "arguments")
    }

    assert rows == {name: arguments(act) for name, act in acts.items()}
