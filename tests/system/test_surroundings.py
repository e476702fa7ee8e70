"""Odd surroundings: other users and locales, closed pipes, few descriptors, other disks, long paths, links."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import Fault, SandboxOptions, answer
from tests.system.bed import KEY, VENDOR_CSV, Bed
from tests.system.process import AS_MORTAL, COMMAND, wait

NOBODY = 65534


def test_an_empty_environment_and_the_c_locale_are_enough(bed: Bed) -> None:
    bare = ("env", "-i", "LC_ALL=C", f"BULKGPT_WATCHD_CONFIG={bed.config_file}")
    daemon = bed.start(before=bare)
    bed.drop("grün.csv".encode())
    bed.drop(b"\xff.csv", b"a\n1\n")
    jobs = bed.wait_ended(2)
    assert {job["state"] for job in jobs} == {"done"}
    for command in (("jobs",), ("status",), ("jobs", "show", jobs[0]["job"])):
        done = subprocess.run([*bare, *COMMAND, *command], capture_output=True, check=False, timeout=20)
        assert (done.returncode, done.stderr) == (0, b"")
    assert daemon.stop() == 0


def test_a_reader_of_the_log_that_goes_away_stops_nothing(bed: Bed) -> None:
    bed.write()
    reading, writing = os.pipe()
    process = subprocess.Popen([*COMMAND, "run"], env=bed.environ, stderr=writing, stdin=subprocess.DEVNULL)
    os.close(writing)
    try:
        with open(reading, "rb") as pipe:
            while b"daemon.ready" not in pipe.readline():
                pass
        bed.drop("a.csv")
        wait(lambda: "a.csv" in bed.files("archive"), "it goes on without a reader")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_stop_nothing_and_no_file_takes_their_place(bed: Bed, closed: str) -> None:
    bed.write()
    command = " ".join(COMMAND)
    process = subprocess.Popen(["sh", "-c", f"exec {command} run {closed}"], env=bed.environ, stderr=subprocess.DEVNULL)
    try:
        bed.drop("a.csv")
        wait(lambda: "a.csv.receipt.json" in bed.files("archive"), "it goes")
        wait(lambda: bed.files("archive").get("a.csv") == VENDOR_CSV, "the original is untouched")
        assert bed.files("outbox") == {"a.csv": answer(VENDOR_CSV)}
    finally:
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.fault("F40")
def test_few_descriptors_are_enough(bed: Bed) -> None:
    bed.drop("first.csv")
    bed.start(before=("sh", "-c", 'ulimit -n 64; exec "$@"', "sh"))
    for number in range(40):
        bed.drop(f"{number}.csv", b"a\n%d\n" % number)
    jobs = bed.wait_ended(41, 40)
    assert {job["state"] for job in jobs} == {"done"}


def test_a_relative_configuration_is_found_again_at_reload(bed: Bed) -> None:
    bed.write()
    before = ("env", "-C", str(bed.folder), "-u", "BULKGPT_WATCHD_CONFIG", f"PYTHONPATH={os.getcwd()}")
    daemon = bed.start(before=before, config=Path("config.yaml"))
    os.kill(daemon.pid, signal.SIGHUP)
    daemon.wait_for("config.reloaded")
    bed.drop("a.csv")
    bed.wait_ended(1)
    assert bed.json("status")["daemon"]["config"] == str(bed.config_file)


@pytest.mark.fault("S27")
@pytest.mark.skipif(not AS_MORTAL, reason="not as root: only root can give files to others")
def test_another_user_may_look_where_the_folder_lets_him_and_may_not_act(bed: Bed) -> None:
    daemon = bed.start()
    bed.drop("a.csv")
    bed.wait_ended(1)
    state = bed.folder / "state"
    state.chmod(0o755)
    for path in (state, *state.iterdir()):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o755 if path.is_dir() else 0o660 if path.is_socket() else 0o644)

    def as_other(*arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command without root's rights, on files that belong to somebody else."""
        command = [*AS_MORTAL, *COMMAND, *arguments]
        return subprocess.run(command, env=bed.environ, capture_output=True, text=True, check=False, timeout=20)

    for arguments in (("jobs",), ("status",)):
        done = as_other(*arguments)
        assert done.returncode == 0, done
    refused = as_other("pause")
    assert (refused.returncode, refused.stdout) == (77, "")
    assert "control.sock" in refused.stderr
    assert daemon.stop() == 0
    done = as_other("jobs")
    assert (done.returncode, "a.csv" in done.stdout) == (0, True), "without a daemon too"
    assert {path.name for path in state.iterdir()} <= {"state.db", "state.db.lock"}


@pytest.mark.fault("F35")
def test_outbox_archive_and_error_may_lie_on_other_disks(bed: Bed, other_disk: Path) -> None:
    places = {role: other_disk / role for role in ("outbox", "archive", "error")}
    for place in places.values():
        place.mkdir()
    bed.route(**{role: str(place) for role, place in places.items()})
    contents = [bed.drop("a.csv"), bed.drop("bad.csv", b"a,b\n1\n")]
    bed.start()
    jobs = bed.wait_ended(2)
    bed.gone.update(contents)  # the bed does not look at that disk
    assert (places["outbox"] / "a.csv").read_bytes() == answer(VENDOR_CSV)
    assert (places["archive"] / "a.csv").read_bytes() == VENDOR_CSV
    assert (places["error"] / "bad.csv").read_bytes() == b"a,b\n1\n"
    assert sorted(os.listdir(places["error"])) == ["bad.csv", "bad.csv.error.json"]
    assert bed.files("work").keys() == {"route.json"}
    bed.does("retry", jobs[1]["job"])
    bed.wait_ended(3)
    assert sorted(os.listdir(places["error"])) == ["bad.csv", "bad.csv.error.json"]


def test_long_paths_and_linked_folders_work(bed: Bed) -> None:
    deep = bed.folder.joinpath(*["a folder with a long name for a long path"] * 5)
    (deep / "real" / "inbox").mkdir(parents=True)
    bed.more["state"] = {"path": str(deep / "state.db")}
    (bed.folder / "leads").symlink_to(deep / "real")
    bed.start()
    bed.drop("a.csv")
    bed.wait_ended(1)
    assert bed.files("outbox").keys() == {"a.csv"}
    bed.does("scan")


def test_a_stop_within_once_ends_it_and_the_next_run_goes_on(bed: Bed) -> None:
    bed.sandbox.plan(Fault(call="status", http_status=503, times="always"))
    bed.drop("a.csv")
    daemon = bed.start("--once", is_ready=False)
    daemon.wait_for("task.submitted")
    assert daemon.stop() in {0, 11}
    bed.sandbox.clear()
    assert bed.once() == 0
    assert len(bed.sandbox.accepted) == 1


@pytest.mark.fault("S13")
@pytest.mark.parametrize("umask", ["000", "077"])
def test_what_is_ours_is_private_and_what_is_theirs_follows_the_umask(bed: Bed, umask: str) -> None:
    bed.start(before=("sh", "-c", f'umask {umask}; exec "$@"', "sh"))
    bed.drop("a.csv")
    bed.drop("b.csv", b"a,b\n1\n")
    bed.wait_ended(2)
    mode = 0o666 & ~int(umask, 8)
    for path in (bed.place("outbox") / "a.csv", bed.place("archive") / "a.csv.receipt.json"):
        assert oct(path.stat().st_mode & 0o777) == oct(mode)
    work = bed.place("inbox") / ".bulkgpt-watchd"
    assert oct(work.stat().st_mode & 0o777) == oct(0o700)
    for path in (bed.folder / "state").iterdir():
        if path.suffix != ".sock":
            assert path.stat().st_mode & 0o007 == 0, path


def test_many_hang_ups_and_commands_at_once_harm_nothing(bed: Bed) -> None:
    daemon = bed.start()
    for number in range(30):
        bed.drop(f"{number}.csv", b"a\n%d\n" % number)
        os.kill(daemon.pid, signal.SIGHUP)
    processes = [
        subprocess.Popen([*COMMAND, *command], env=bed.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for command in (["scan"], ["status"], ["jobs"], ["reload"], ["resume"])
    ]
    for process in processes:
        _, told = process.communicate(timeout=30)
        assert (process.returncode, told) == (0, b"")
    jobs = bed.wait_ended(30)
    assert {job["state"] for job in jobs} == {"done"}


@pytest.mark.fault("F26")
def test_one_name_dropped_again_and_again_is_taken_each_time(bed: Bed) -> None:
    daemon = bed.start()
    contents = [b"a\n%d\n" % number for number in range(25)]
    for content in contents:
        wait(lambda: not (bed.place("inbox") / "a.csv").exists(), "it is taken", daemon=daemon)
        bed.drop("a.csv", content)
    bed.wait_ended(len(contents))
    assert sorted(bed.files("outbox").values()) == sorted(map(answer, contents))
    assert len(bed.files("archive")) == 2 * len(contents)


class TestSlowTasks:
    """Tasks that take a second each, many at once."""

    @pytest.fixture
    def options(self) -> SandboxOptions:
        return SandboxOptions(key=KEY, preparing_s=0.2, running_s=1.0, finalizing_s=0.2)

    @pytest.mark.fault("F10")
    def test_spacing_keeps_submits_apart_and_tasks_run_beside_each_other(self, bed: Bed) -> None:
        bed.api["submit_spacing"] = "300ms"
        for number in range(5):
            bed.drop(f"{number}.csv", b"a\n%d\n" % number)
        started = time.monotonic()
        daemon = bed.start()
        bed.wait_ended(5)
        assert time.monotonic() - started < 15
        times = [datetime.fromisoformat(line["ts"]) for line in daemon.told("task.submitted")]
        assert all(later - earlier > timedelta(milliseconds=290) for earlier, later in pairwise(times))

    @pytest.mark.parametrize("options", [SandboxOptions(key=KEY, preparing_s=0.1, running_s=60.0)])
    def test_progress_is_shown_while_it_runs(self, bed: Bed) -> None:
        daemon = bed.start()
        bed.drop("a.csv")
        daemon.wait_for("task.progressed")
        job = bed.jobs()[0]
        assert job["state"] == "running"
        assert job["rows"] == 24
        assert "a.csv" in bed.does("status")

    def test_no_more_than_max_outstanding_run_at_once(self, bed: Bed) -> None:
        bed.api["max_outstanding"] = 2
        for number in range(5):
            bed.drop(f"{number}.csv", b"a\n%d\n" % number)
        daemon = bed.start()
        running = 0
        most = 0
        bed.wait_ended(5)
        for line in daemon.lines():
            running += (line["event"] == "task.submitted") - (line["event"] == "task.completed")
            most = max(most, running)
        assert most == 2


def test_the_module_and_the_version_agree(bed: Bed) -> None:
    bed.write()
    assert bed.does("--version").startswith("bulkgpt-watchd ")
    assert bed.command("nonsense").returncode == 2
    assert sys.executable
