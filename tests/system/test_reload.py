"""The configuration changes under way: by command and by signal, wrong and right."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import Fault
from tests.system.bed import Bed
from tests.system.process import Daemon, wait


def reload(bed: Bed, daemon: Daemon, how: str) -> None:
    """Reload, and wait until the daemon says so."""
    bed.write()
    before = len(daemon.told("config.reloaded"))
    if how == "command":
        bed.does("reload")
    else:
        os.kill(daemon.pid, signal.SIGHUP)
    wait(lambda: len(daemon.told("config.reloaded")) > before, "it reloads", daemon=daemon)


@pytest.mark.parametrize("how", ["command", "signal"])
def test_a_wrong_configuration_keeps_the_old_one(bed: Bed, how: str) -> None:
    daemon = bed.start()
    text = bed.config_file.read_text()
    bed.config_file.write_text(text.replace('"scan_every"', '"scan_evry"').replace('"settle"', '"setle"'))
    if how == "command":
        done = bed.command("reload")
        assert done.returncode == 78
        assert "scan_evry" in done.stderr
        assert "setle" in done.stderr
        as_json = bed.command("reload", "--json")
        assert as_json.returncode == 78
        assert json.loads(as_json.stdout)
    else:
        os.kill(daemon.pid, signal.SIGHUP)
    rejected = daemon.wait_for("config.rejected")
    assert any("scan_evry" in mistake for mistake in rejected["mistakes"])
    assert any("setle" in mistake for mistake in rejected["mistakes"])
    bed.drop("a.csv")
    bed.wait_ended(1)
    assert bed.json("status")["running"], "commands go on too"
    bed.does("pause", "--for", "1s")
    bed.config_file.write_text("}{")
    os.kill(daemon.pid, signal.SIGHUP)
    wait(lambda: len(daemon.told("config.rejected")) >= 2, "that is rejected too", daemon=daemon)
    bed.config_file.unlink()
    os.kill(daemon.pid, signal.SIGHUP)
    wait(lambda: len(daemon.told("config.rejected")) >= 3, "a missing file too", daemon=daemon)
    bed.write()
    bed.drop("b.csv", b"a\n1\n")
    bed.wait_ended(2)


def include(bed: Bed, name: str, *routes: dict[str, object]) -> Path:
    """Write a file in routes.d; the routes are no longer in the configuration itself."""
    bed.routes = [route for route in bed.routes if route not in routes]
    (bed.folder / "routes.d").mkdir(exist_ok=True)
    path = bed.folder / "routes.d" / name
    path.write_text(json.dumps(routes, indent=1))
    return path


def test_mistakes_in_several_files_are_all_printed_and_nothing_changes(bed: Bed) -> None:
    bed.route()
    old = include(bed, "old.yaml", bed.route("old"))
    daemon = bed.start()
    include(bed, "new.yaml", bed.route("new"))
    old.write_text(old.read_text().replace('"scan_every"', '"scan_evry"').replace('"settle"', '"setle"'))
    bed.routes[0]["workflow_id"] = ""
    bed.api |= {"timeout": "soon", "max_outstanding": 3}
    bed.write()
    done = bed.command("reload")

    assert (done.returncode, done.stdout) == (78, "")
    first, *mistakes, last = (line for line in done.stderr.splitlines() if not line.startswith("  "))
    assert "the old configuration stays" in first
    assert last == "4 mistakes"
    assert [(line.split(":")[0], line.split(": ")[1]) for line in mistakes] == [
        (str(bed.config_file), "api.timeout"),
        (str(bed.config_file), "routes[leads].workflow_id"),
        (str(old), "routes[old].setle"),
        (str(old), "routes[old].scan_evry"),
    ]
    assert json.loads(bed.command("reload", "--json").stdout)["error"]["mistakes"] == mistakes
    assert [line["mistakes"] for line in daemon.told("config.rejected")] == [mistakes, mistakes]
    assert {route["name"] for route in bed.json("status")["routes"]} == {"leads", "old"}
    bed.drop("new.csv", b"a\n1\n", "new")
    bed.drop("old.csv", b"a\n2\n", "old")
    bed.drop("leads.csv", b"a\n3\n")
    bed.wait_ended(2)
    assert {record.workflow_id for record in bed.sandbox.accepted} == {"workflow of leads", "workflow of old"}
    assert bed.files("inbox", "new").keys() == {"new.csv"}
    assert not daemon.told("config.reloaded")


def test_a_route_that_moves_into_a_file_of_its_own_goes_on_and_a_removed_file_drains(bed: Bed) -> None:
    bed.route()
    bed.sandbox.plan(Fault(call="status", http_status=503, times="always"))
    daemon = bed.start()
    bed.drop("a.csv", b"a\n1\n")
    daemon.wait_for("task.submitted")
    leads = include(bed, "leads.yaml", *bed.routes)
    bed.route("keep")
    include(bed, "more.yaml", bed.route("more"))
    reload(bed, daemon, "command")
    bed.drop("b.csv", b"a\n2\n")
    bed.drop("c.csv", b"a\n3\n", "more")
    wait(lambda: len(daemon.told("task.submitted")) == 3, "all submit", daemon=daemon)
    assert not daemon.told("route.unavailable")
    leads.unlink()
    reload(bed, daemon, "signal")
    status = {route["name"]: route for route in bed.json("status")["routes"]}
    assert (status["leads"]["draining"], status["more"]["draining"]) == (True, False)
    bed.sandbox.clear()
    bed.wait_ended(3)
    assert bed.files("outbox").keys() == {"a.csv", "b.csv"}
    assert len(bed.sandbox.accepted) == 3


@pytest.mark.parametrize("how", ["command", "signal"])
def test_a_new_route_starts_and_a_removed_one_drains(bed: Bed, how: str) -> None:
    bed.route("old")
    bed.route("keep")
    bed.sandbox.plan(Fault(call="status", http_status=503, times="always"))
    daemon = bed.start()
    bed.drop("running.csv", b"a\n1\n", "old")
    daemon.wait_for("task.submitted")
    del bed.routes[0]
    bed.route("new")
    bed.drop("there.csv", b"a\n2\n", "new")
    reload(bed, daemon, how)
    bed.drop("late.csv", b"a\n3\n", "old")
    wait(lambda: len(daemon.told("task.submitted")) == 2, "the new route submits", daemon=daemon)
    status = {route["name"]: route for route in bed.json("status")["routes"]}
    assert status["old"]["draining"]
    assert not status["new"]["draining"]
    bed.sandbox.clear()
    bed.wait_ended(2)
    assert bed.files("outbox", "old").keys() == {"running.csv"}
    assert bed.files("outbox", "new").keys() == {"there.csv"}
    time.sleep(0.5)
    assert bed.files("inbox", "old").keys() == {"late.csv"}, "a removed route takes nothing more"
    assert len(bed.sandbox.accepted) == 2


def test_a_route_that_was_removed_and_comes_back_while_it_drains_goes_on(bed: Bed) -> None:
    """As when a file in routes.d is replaced by removing it first."""
    bed.route("keep")
    leads = bed.route("leads")
    bed.sandbox.plan(Fault(call="status", http_status=503, times="always"))
    daemon = bed.start()
    bed.drop("running.csv", b"a\n1\n")
    daemon.wait_for("task.submitted")
    bed.routes.remove(leads)
    reload(bed, daemon, "command")
    bed.drop("waits.csv", b"a\n2\n")
    include(bed, "leads.yaml", leads)
    reload(bed, daemon, "command")
    wait(lambda: len(daemon.told("task.submitted")) == 2, "what waits is taken", daemon=daemon)
    bed.sandbox.clear()
    assert {(job["route"], job["state"]) for job in bed.wait_ended(2)} == {("leads", "done")}
    assert not daemon.told("route.unavailable")
    assert [route["name"] for route in bed.json("status")["routes"]] == ["keep", "leads"]


def test_a_renamed_route_keeps_its_jobs(bed: Bed) -> None:
    bed.route("before", folder="place")
    (bed.folder / "place" / "inbox").mkdir(parents=True)
    bed.sandbox.plan(Fault(call="status", http_status=503, times="always"))
    daemon = bed.start()
    bed.drop("a.csv", b"a\n1\n", "place")
    daemon.wait_for("task.submitted")
    bed.does("pause")
    bed.drop("waits.csv", b"a\n2\n", "place")
    daemon.wait_for("job.discovered", file="waits.csv")
    bed.routes[0]["name"] = "after"
    reload(bed, daemon, "command")
    bed.does("resume")
    bed.sandbox.clear()
    jobs = bed.wait_ended(2)
    assert {(job["route"], job["file"], job["state"]) for job in jobs} == {
        ("after", "a.csv", "done"),
        ("after", "waits.csv", "done"),
    }
    assert len(bed.sandbox.accepted) == 2
    assert daemon.told("route.renamed")
    assert not daemon.told("route.unavailable")
    assert {route["name"] for route in bed.json("status")["routes"]} == {"after"}


def test_a_renamed_route_keeps_its_jobs_over_a_restart_too(bed: Bed) -> None:
    bed.route("before", folder="place")
    (bed.folder / "place" / "inbox").mkdir(parents=True)
    daemon = bed.start()
    bed.does("pause")
    bed.drop("waits.csv", b"a\n2\n", "place")
    daemon.wait_for("job.discovered")
    daemon.stop()
    bed.routes[0]["name"] = "after"
    daemon = bed.start()
    bed.does("resume")
    [job] = bed.wait_ended(1)
    assert (job["route"], job["state"]) == ("after", "done")
    assert not daemon.told("route.unavailable")


def test_a_changed_workflow_is_taken_by_files_that_were_not_sent(bed: Bed) -> None:
    daemon = bed.start()
    bed.drop("first.csv", b"a\n1\n")
    bed.wait_ended(1)
    bed.does("pause")
    bed.drop("second.csv", b"a\n2\n")
    daemon.wait_for("job.discovered", file="second.csv")
    bed.routes[0]["workflow_id"] = "another"
    reload(bed, daemon, "command")
    bed.does("resume")
    bed.wait_ended(2)
    assert [record.workflow_id for record in bed.sandbox.accepted] == ["workflow of leads", "another"]
    assert bed.receipt("first.csv")["workflow_id"] == "workflow of leads"
    assert bed.receipt("second.csv")["workflow_id"] == "another"


def test_what_was_claimed_is_finished_where_it_was_claimed(bed: Bed) -> None:
    """The folders of a route change while a task runs."""
    bed.sandbox.plan(Fault(call="status", http_status=503, times="always"))
    daemon = bed.start()
    bed.drop("a.csv", b"a\n1\n")
    daemon.wait_for("task.submitted")
    (bed.folder / "elsewhere" / "inbox").mkdir(parents=True)
    bed.routes[0]["folder"] = "elsewhere"
    reload(bed, daemon, "command")
    bed.sandbox.clear()
    bed.drop("b.csv", b"a\n2\n", "elsewhere")
    bed.wait_ended(2)
    results = {**bed.files("outbox"), **bed.files("outbox", "elsewhere")}
    assert results.keys() == {"a.csv", "b.csv"}
    assert bed.files("work").keys() == {"route.json"}


def test_what_needs_a_restart_is_told_and_the_rest_is_taken(bed: Bed) -> None:
    daemon = bed.start()
    bed.api |= {"timeout": "7s", "max_outstanding": 3}
    bed.write()
    answer = bed.json("reload")
    assert answer["needs_restart"] == ["api.timeout"]
    assert daemon.told("config.reloaded")[0]["needs_restart"] == ["api.timeout"]


def test_a_route_that_was_removed_is_no_problem_any_more(bed: Bed) -> None:
    """Its jobs are still shown; what its folders last suffered from is not."""
    bed.route("old")
    bed.route("keep")
    daemon = bed.start()
    bed.drop("bad.csv", b"a,b\n1\n", "old")
    [job] = bed.wait_ended(1)
    away = bed.folder / "away"
    bed.place("inbox", "old").rename(away)
    daemon.wait_for("route.unavailable", route="old")
    assert bed.json("status")["state"] == "degraded"
    del bed.routes[0]
    reload(bed, daemon, "command")
    status = bed.json("status")
    assert (status["state"], status["problems"]) == ("ok", [])
    routes = {route["name"]: route for route in status["routes"]}
    assert (routes["old"]["configured"], routes["old"]["failed"]) == (False, 1)
    assert routes["keep"]["configured"]
    assert "no longer configured" in bed.does("status")
    refused = bed.command("retry", job["job"])
    assert refused.returncode == 77
    assert "no longer configured" in refused.stderr


@pytest.mark.parametrize("role", ["outbox", "folder"])
def test_a_folder_that_the_configuration_puts_on_another_disk_needs_no_adopt(
    bed: Bed, other_disk: Path, role: str
) -> None:
    daemon = bed.start()
    bed.drop("a.csv", b"a\n1\n")
    bed.wait_ended(1)
    bed.routes[0][role] = str(other_disk)
    (other_disk / "inbox").mkdir()
    reload(bed, daemon, "command")
    inbox = other_disk / "inbox" if role == "folder" else bed.place("inbox")
    (inbox / ".b").write_bytes(b"a\n2\n")
    (inbox / ".b").rename(inbox / "b.csv")
    bed.wait_ended(2)
    assert (other_disk / ("outbox/b.csv" if role == "folder" else "b.csv")).exists()
    assert not daemon.told("route.unavailable")
