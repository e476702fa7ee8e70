from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bulkgpt_watchd import __version__
from bulkgpt_watchd.cli import TABLE, root
from tests.cli.conftest import Bed, invoke

ROOT = Path(__file__).parents[2]


def modules_after(*arguments: str | Path) -> set[str]:
    """Run a command in a process of its own and give the modules that it imported."""
    code = (
        "import sys\nfrom bulkgpt_watchd.cli import main\n"
        "try: main()\nfinally: print(*sys.modules, file=sys.stderr, sep='\\n')"
    )
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(ran.stderr.split())


@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("jobs",), ("jobs", "show", "j0000001")])
def test_looking_imports_neither_the_network_nor_the_watcher_nor_what_draws_on_terminals(
    bed: Bed, arguments: tuple[str, ...]
) -> None:
    from tests.sample_jobs import sample_job

    bed.remember(sample_job("j0000001"))

    assert not modules_after("-c", bed.config, *arguments) & {"aiohttp", "watchdog", "structlog", "rich"}


def test_help_imports_no_command_and_no_library_but_click() -> None:
    modules = modules_after("--help")

    assert not modules & {"pydantic", "yaml", "sqlite3", "asyncio", "aiohttp"}
    assert {name for name in modules if name.startswith("bulkgpt_watchd.cli.")} == {
        "bulkgpt_watchd.cli.ending",
        "bulkgpt_watchd.cli.lazy",
        "bulkgpt_watchd.cli.options",
    }


def test_help_names_every_command_once() -> None:
    told = invoke("--help").stdout

    assert [line.split()[0] for line in told.split("Commands:\n")[1].split("\n\n")[0].splitlines()] == list(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_every_command_says_how_it_is_used(name: str) -> None:
    """Its help has examples, and names the configuration where it goes by one."""
    command = root.get_command(click.Context(root), name)
    ran = invoke(name, "--help")

    assert command is not None
    assert command.name == name
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"Usage: bulkgpt-watchd {name} ")
    assert ("--config" in ran.stdout) == (name not in {"demo", "init", "sandbox"})
    assert f"Examples:\n    bulkgpt-watchd {name}" in ran.stdout


def test_the_version_is_told() -> None:
    assert invoke("--version").stdout == f"bulkgpt-watchd {__version__}\n"


def test_a_command_that_is_not_there_is_told_with_the_nearest() -> None:
    ran = invoke("reprot")

    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "No such command 'reprot'. Did you mean 'report'?" in ran.stderr


def test_nothing_at_all_shows_the_help_as_a_mistake_of_usage() -> None:
    ran = invoke()

    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "Usage: bulkgpt-watchd" in ran.stderr


def test_with_json_a_mistake_of_usage_is_one_object_too() -> None:
    ran = invoke("jobs", "--limit", "0", "--json")

    assert (ran.exit_code, ran.stderr) == (2, "")
    error = json.loads(ran.stdout)["error"]
    assert error == {"message": "Invalid value for '--limit': 0 is not in the range x>=1.", "exit_code": 2}


@pytest.mark.parametrize("place", ["before", "after", "short", "environment"])
def test_the_configuration_may_be_named_before_and_after_the_command_and_by_the_environment(
    tmp_path: Path, place: str
) -> None:
    path = tmp_path / "other.yaml"
    ran = {
        "before": lambda: invoke("--config", path, "status"),
        "after": lambda: invoke("status", "--config", path),
        "short": lambda: invoke("status", "-c", path, BULKGPT_WATCHD_CONFIG="/elsewhere"),
        "environment": lambda: invoke("status", BULKGPT_WATCHD_CONFIG=str(path)),
    }[place]()

    hint = "name another configuration with --config, or make one with: bulkgpt-watchd init DIR"
    assert (ran.exit_code, ran.stderr) == (78, f"{path}: does not exist\n{hint}\n")


def test_of_two_configurations_the_last_one_counts(tmp_path: Path) -> None:
    assert f"{tmp_path}/b:" in invoke("-c", tmp_path / "a", "status", "-c", tmp_path / "b").stderr
    assert f"{tmp_path}/b:" in invoke("-c", tmp_path / "a", "config", "check", "-c", tmp_path / "b").stderr


@pytest.mark.parametrize("wrong", ["state: {pth: s.db}", "stat: {path: s.db}", "control: {socket: 1}"])
def test_a_configuration_that_hides_where_the_daemon_is_is_told_in_full_by_every_command(bed: Bed, wrong: str) -> None:
    bed.config.write_text(f"{wrong}\napi: {{timout: 1s}}\nroutes: []\n")
    ran = bed.cli("jobs")

    assert (ran.exit_code, ran.stdout) == (78, "")
    assert "config.yaml:2:7: api.timout: unknown key; did you mean 'timeout'?\n  2 | api: {timout: 1s}\n" in ran.stderr
    error = json.loads(bed.cli("jobs", "--json").stdout)["error"]
    assert error["exit_code"] == 78
    assert {"api.timout", "routes"} < {line.split(": ")[1] for line in error["mistakes"]}


@pytest.mark.parametrize("wrong", ["api: {timout: 1s}", "routes: []", "log: {level: loud}", "defaults: 1"])
def test_what_is_wrong_elsewhere_does_not_keep_a_person_from_a_daemon_that_runs(bed: Bed, wrong: str) -> None:
    bed.remember()
    bed.config.write_text(f"state: {{path: state/state.db}}\n{wrong}\n")

    assert bed.cli("jobs", "--json").stdout == "[]\n"
    assert bed.cli("status", "--json").exit_code == 0
    assert bed.cli("pause").exit_code == 69


def test_a_reader_that_goes_away_is_no_error_worth_a_traceback(bed: Bed) -> None:
    from tests.sample_jobs import sample_job

    bed.remember(*(sample_job(f"j{number:07}") for number in range(3000)))
    ran = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m bulkgpt_watchd -c {bed.config} jobs | head -1"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    assert ran.stdout.startswith("JOB")
    assert ran.stderr == ""


def test_the_module_runs_as_the_command_does() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bulkgpt_watchd", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert ran.stdout == invoke("--version").stdout


def test_the_journal_is_told_that_mistakes_are_errors(bed: Bed) -> None:
    bed.config.write_text("nonsense: 1\n")
    journal = bed.folder / "journal"
    command = [sys.executable, "-m", "bulkgpt_watchd", "run", "-c", str(bed.config)]
    with open(journal, "wb") as stderr:
        status = os.fstat(stderr.fileno())
        environ = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        ran = subprocess.run(command, stderr=stderr, check=False, cwd=ROOT, env=environ)

    lines = journal.read_text().splitlines()
    assert ran.returncode == 78
    assert lines[0] == f"<3>{bed.config}:1:1: nonsense: unknown key"
    assert [line for line in lines if not line.startswith("<3>")] == []
