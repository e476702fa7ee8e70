"""The numbers of a whole daemon follow what happens to its files."""

from __future__ import annotations

import pytest

from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.config import BudgetSettings
from bulkgpt_watchd.core.errors import Denied, OutcomeUnknown
from bulkgpt_watchd.core.figures import FIGURES, VALUES
from bulkgpt_watchd.scheduler.figures import Figures, Remembered
from tests.daemon import Daemon, Place
from tests.fakes import SubmitFault

Key = tuple[str, ...]

ROUTES = ("leads", "other", "*")


async def start(place: Place) -> tuple[Daemon, Figures]:
    daemon = await place.start()
    figures = Figures(daemon.scheduler, {"leads"}.__contains__)
    figures.start()
    return daemon, figures


def numbers(place: Place, figures: Figures) -> dict[Key, float]:
    with StateReader.open(place.state) as state:
        remembered = Remembered(state.oldest(), state.failed(), state.size_bytes())
    samples = figures.samples(remembered)
    told = {(sample.figure.removesuffix("_total"), *sample.labels): sample.value for sample in samples}
    assert len(told) == len(samples), "each is told once"
    for sample in samples:
        labels = dict(zip(FIGURES[sample.figure].labels, sample.labels, strict=True))
        assert all(value in VALUES.get((sample.figure, label), (value,)) for label, value in labels.items())
    return told


async def test_files_are_counted_by_what_came_of_them(place: Place) -> None:
    place.drop("good.csv", b"a\n1\n2\n3\n")
    place.drop("partial.csv", b"a\n4\n5\n")
    place.drop("bad.csv", b"a,b\n1\n")
    place.api.on_accept = lambda task: setattr(task, "rows_failed", int(task.rows == 2))
    daemon, figures = await start(place)
    await daemon.run_to_idle()
    told = numbers(place, figures)

    assert {
        outcome: told["jobs_finished", "leads", outcome] for outcome in VALUES["jobs_finished_total", "outcome"]
    } == {
        "done": 1,
        "partial": 1,
        "failed": 1,
        "withdrawn": 0,
    }
    assert (told["jobs", "leads", "done"], told["jobs", "leads", "failed"], told["jobs", "leads", "waiting"]) == (
        2,
        1,
        0,
    )
    assert {kind: told["rows", "leads", kind] for kind in VALUES["rows_total", "kind"]} == {
        "sent": 5,
        "ok": 4,
        "failed": 1,
        "doubtful": 0,
    }
    assert told["jobs_failed", "leads", "csv_invalid"] == told["failed_files", "leads", "csv_invalid"] == 1
    assert told["submits", "leads", "accepted"] == 2
    assert told["input_bytes", "leads"] == 8 + 6
    assert told["result_bytes", "leads"] == sum(map(len, place.files("outbox").values()))
    assert (told["gate_open",], told["gate_denied",], told["route_held", "leads"]) == (1, 0, 0)
    assert told["state_size_bytes",] > 4096


async def test_what_is_counted_is_in_the_state_too(place: Place) -> None:
    for number in range(5):
        place.drop(f"{number}.csv", b"a\n%d\n" % number)
    daemon, figures = await start(place)
    await daemon.run_to_idle()

    assert numbers(place, figures)["rows", "leads", "sent"] == sum(job.rows or 0 for job in await daemon.jobs())


async def test_a_doubt_is_told_until_a_person_answers_and_over_a_restart(place: Place) -> None:
    place.drop("a.csv", b"a\n1\n2\n")
    place.api.plan(SubmitFault(OutcomeUnknown("HTTP 502", http_status=502)))
    daemon, figures = await start(place)
    await daemon.run_until(lambda: bool(place.told("job.quarantined")))
    told = numbers(place, figures)
    assert (told["submits", "leads", "unknown"], told["rows", "leads", "doubtful"]) == (1, 2)
    assert (told["failed_files", "leads", "submission_unknown"], told["gate_open",], told["gate_denied",]) == (1, 0, 0)

    await daemon.stop()
    daemon, figures = await start(place)
    told = numbers(place, figures)
    assert told["failed_files", "leads", "submission_unknown"] == 1, "a gauge has no hole"
    assert told["submits", "leads", "unknown"] == 0, "a counter begins again"

    await daemon.turn()
    await daemon.acts.resolve("a person", (await daemon.job("a.csv")).id, abandon=True)
    assert ("failed_files", "leads", "submission_unknown") not in numbers(place, figures)


async def test_a_wrong_key_is_told_as_such(place: Place) -> None:
    place.api.wrong_keys = {"key-1"}
    place.drop("a.csv")
    daemon, figures = await start(place)
    await daemon.run_until(lambda: bool(place.told("gate.shut")))
    await daemon.scheduler.drain()
    told = numbers(place, figures)
    assert (told["gate_open",], told["gate_denied",], told["submits", "leads", "denied"]) == (0, 1, 1)

    place.api.key_on_disk = "key-2"
    await daemon.run_to_idle()
    told = numbers(place, figures)
    assert (told["gate_open",], told["gate_denied",], told["rows", "leads", "sent"]) == (1, 0, 3)


async def test_a_route_s_own_refusal_is_told_of_it_alone(place: Place) -> None:
    place.drop("good.csv", route="other")
    daemon, figures = await start(place)
    await daemon.run_to_idle()
    place.api.plan(SubmitFault(Denied("HTTP 403", http_status=403), at="before", times=99))
    place.drop("a.csv")
    place.route()
    await daemon.discovery.take(place.routes.values())
    await daemon.run_until(lambda: bool(place.told("gate.held")))
    told = numbers(place, figures)

    assert (told["route_held", "leads"], told["route_held", "other"], told["gate_open",]) == (1, 0, 1)


async def test_an_age_is_that_of_the_oldest_in_any_step_of_a_state(place: Place) -> None:
    daemon, figures = await start(place)
    await daemon.turn()
    await daemon.acts.pause("a person")
    place.drop("old.csv", b"a\n1\n")
    await daemon.run_for(600.0)
    place.drop("new.csv", b"a\n2\n")
    await daemon.run_for(60.0)
    told = numbers(place, figures)

    assert told["oldest_job_age_seconds", "leads", "waiting"] == pytest.approx(660.0, abs=15.0)
    assert told["oldest_job_age_seconds", "leads", "running"] == 0
    assert (told["route_paused", "leads"], told["inbox_files", "leads", "waiting"]) == (1, 2)


async def test_what_a_scan_saw_is_told_without_touching_the_folder(place: Place) -> None:
    place.route(settle=60.0)
    place.drop("settles.csv")
    (place.routes["leads"].inbox / "link.csv").symlink_to("settles.csv")
    daemon, figures = await start(place)
    before = numbers(place, figures)
    assert (before["scan_last_success_timestamp_seconds", "leads"], before["route_available", "leads"]) == (0, 0)

    await daemon.turn(0.0)
    scanned_at = place.clock.now()
    place.routes["leads"].inbox.rename(place.folder / "away")
    told = numbers(place, figures)
    assert told["scan_last_success_timestamp_seconds", "leads"] == pytest.approx(scanned_at)
    assert {kind: told["inbox_files", "leads", kind] for kind in VALUES["inbox_files", "kind"]} == {
        "waiting": 0,
        "unsettled": 1,
        "unreadable": 0,
        "ignored": 1,
    }
    assert told["disk_free_bytes", "leads", "outbox"] > 0
    assert (told["route_available", "leads"], told["watch_up", "leads"]) == (1, 1)

    await daemon.run_for(30.0)
    told = numbers(place, figures)
    assert told["route_available", "leads"] == 0
    assert told["scan_last_success_timestamp_seconds", "leads"] == pytest.approx(scanned_at), "that was the last"
    (place.folder / "away").rename(place.routes["leads"].inbox)
    await daemon.run_for(30.0)
    assert numbers(place, figures)["route_available", "leads"] == 1


async def test_a_counter_goes_on_under_another_name_and_ends_with_its_route(place: Place) -> None:
    place.drop("a.csv")
    daemon, figures = await start(place)
    await daemon.run_to_idle()
    await daemon.discovery.take([place.routes["leads"].model_copy(update={"name": "orders"})])
    told = numbers(place, figures)
    assert told["jobs_finished", "orders", "done"] == told["jobs", "orders", "done"] == 1
    assert not [key for key in told if "leads" in key]

    await daemon.discovery.take([])
    told = numbers(place, figures)
    assert ("jobs_finished", "orders", "done") not in told
    assert told["jobs", "orders", "done"] == 1, "its jobs are still there"


async def test_without_the_state_the_rest_is_told(place: Place) -> None:
    daemon, figures = await start(place)
    await daemon.turn()
    names = {sample.figure for sample in figures.samples(None)}

    assert FIGURES.keys() - names == {
        "budget_limit",  # nobody set one
        *("oldest_job_age_seconds", "failed_files", "state_size_bytes"),
        *("state_writable", "build_info"),  # the service adds them
    }


async def test_a_rejected_reload_is_told_until_one_works(place: Place) -> None:
    _, figures = await start(place)
    read_at = place.clock.now()
    figures.is_config_in_use = False
    place.clock.advance(60.0)
    told = numbers(place, figures)
    assert (told["config_last_reload_successful",], told["config_last_reload_success_timestamp_seconds",]) == (
        0,
        read_at,
    )
    figures.reloaded()
    told = numbers(place, figures)
    assert told["config_last_reload_successful",] == 1
    assert told["config_last_reload_success_timestamp_seconds",] == read_at + 60.0


async def test_a_budget_is_told_of_its_route_and_of_all_together(place: Place) -> None:
    place.route(budget=BudgetSettings(rows_per_day=5, files_per_day=9))
    place.route("other")
    place.drop("a.csv", b"a\n1\n2\n3\n")
    place.drop("b.csv", b"a\n4\n5\n", route="other")
    daemon, figures = await start(place)
    await daemon.run_to_idle()
    told = numbers(place, figures)

    assert {route: (told["budget_used", route, "rows"], told["budget_used", route, "files"]) for route in ROUTES} == {
        "leads": (3, 1),
        "other": (2, 1),
        "*": (5, 2),
    }
    assert (told["budget_limit", "leads", "rows"], told["budget_limit", "leads", "files"]) == (5, 9)
    assert [key for key in told if key[0] == "budget_limit" and key[1] != "leads"] == []
    assert {route: told["budget_used_up", route] for route in ROUTES} == dict.fromkeys(ROUTES, 0)


async def test_a_used_up_budget_is_told_until_a_person_lifts_it_or_the_day_ends(place: Place) -> None:
    place.route(budget=BudgetSettings(rows_per_day=3), scan_every=600.0)
    place.drop("a.csv")
    daemon, figures = await start(place)
    await daemon.run_for(60.0)
    place.drop("late.csv", b"a\n7\n")
    await daemon.run_for(600.0)
    told = numbers(place, figures)
    assert (told["budget_used", "leads", "rows"], told["budget_used_up", "leads"]) == (3, 1)
    assert (told["budget_used_up", "*"], told["budget_lifted", "leads"]) == (0, 0)

    await daemon.stop()
    daemon, figures = await start(place)
    assert numbers(place, figures)["budget_used_up", "leads"] == 1, "a restart forgets none of it"
    await daemon.turn()
    await daemon.acts.resume("a person", "leads", over_budget=True)
    told = numbers(place, figures)
    assert (told["budget_used_up", "leads"], told["budget_lifted", "leads"], told["budget_lifted", "*"]) == (0, 1, 0)
    await daemon.acts.resume("a person", over_budget=True)
    assert {route: numbers(place, figures)["budget_lifted", route] for route in ("leads", "*")} == {"leads": 1, "*": 1}

    place.clock.advance(86_400.0)
    told = numbers(place, figures)
    assert (told["budget_used", "leads", "rows"], told["budget_lifted", "leads"], told["budget_lifted", "*"]) == (
        0,
        0,
        0,
    )


async def test_files_that_a_budget_holds_are_counted_and_those_for_which_no_day_is_enough(place: Place) -> None:
    place.route(budget=BudgetSettings(rows_per_day=5), scan_every=600.0)
    place.drop("a.csv")
    place.drop("b.csv", b"a\n4\n5\n6\n")
    place.drop("huge.csv", b"a\n" + b"x\n" * 6)
    daemon, figures = await start(place)
    await daemon.run_for(300.0)
    told = numbers(place, figures)
    assert (told["budget_waiting_files", "leads"], told["budget_too_large_files", "leads"]) == (2, 1)
    assert told["budget_used_up", "leads"] == 0, "a smaller one would go"

    place.clock.advance(86_400.0)
    told = numbers(place, figures)
    assert (told["budget_waiting_files", "leads"], told["budget_too_large_files", "leads"]) == (1, 1), "a new day"
    await daemon.acts.resume("a person", "leads", over_budget=True)
    told = numbers(place, figures)
    assert (told["budget_waiting_files", "leads"], told["budget_too_large_files", "leads"]) == (0, 0)
