from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bulkgpt_watchd.cli.config import config
from bulkgpt_watchd.config.example import example
from tests.config.conftest import ROUTE, WriteConfig

NO_SECRETS = {"BULKGPT_API_KEY": "k", "CREDENTIALS_DIRECTORY": None, "BULKGPT_WATCHD_CONFIG": None}


def run(*arguments: str | Path, **environ: str | None) -> Result:
    return CliRunner().invoke(config, list(map(str, arguments)), env={**NO_SECRETS, **environ})


@pytest.fixture
def right(write: WriteConfig, tmp_path: Path) -> Path:
    (tmp_path / "leads/inbox").mkdir(parents=True)
    return write("routes: [{name: leads, workflow_id: w, folder: leads}]")


def test_a_right_configuration_is_one_line_on_stdout(right: Path) -> None:
    for result in (run("check", right), run("check", "-c", right), run("check", BULKGPT_WATCHD_CONFIG=str(right))):
        assert (result.exit_code, result.stdout, result.stderr) == (0, f"{right}: ok, 1 route\n", "")


def test_the_files_in_routes_d_are_counted_and_their_mistakes_shown(right: Path, tmp_path: Path) -> None:
    (tmp_path / "routes.d").mkdir()
    more = tmp_path / "routes.d/more.yaml"
    more.write_text("- {name: more, workflow_id: w, folder: more}\n")
    (tmp_path / "more/inbox").mkdir(parents=True)
    (tmp_path / "routes.d/lost.yml").write_text("")
    result = run("check", right)

    assert (result.exit_code, result.stdout) == (0, f"{right}: ok, 2 routes, 1 file in routes.d\n")
    assert result.stderr == f"warning: {tmp_path}/routes.d/lost.yml is not read: name it .yaml\n"
    assert json.loads(run("check", right, "--json").stdout)["files"] == [str(right), str(more)]

    more.write_text("- {name: leads, workflow_id: w, folder: more}\n")
    assert run("check", right).stderr == (
        f"{more}:1:10: routes[leads].name: is the name of the route in {right}:1 too\n"
        "  1 | - {name: leads, workflow_id: w, folder: more}\n"
        "    |          ^\n"
        "1 mistake\n"
    )


def test_a_group_that_this_machine_does_not_know_is_told(write: WriteConfig, tmp_path: Path) -> None:
    (tmp_path / "leads/inbox").mkdir(parents=True)
    path = write("routes: [{name: leads, workflow_id: w, folder: leads, result: {group: no-such-group}}]")
    result = run("check", path)

    assert result.exit_code == 78
    assert f"{path}:1:71: routes[leads].result.group: there is no group no-such-group\n" in result.stderr


def test_every_mistake_is_shown_in_its_line(write: WriteConfig) -> None:
    path = write("api:\n  timout: 30s\n" + ROUTE + "\tsettle: 0\n")
    result = run("check", path)

    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr == (
        f"{path}:8:1: a tab cannot stand here; indent with spaces\n  8 |  settle: 0\n    | ^\n1 mistake\n"
    )
    path = write("api:\n  timout: 30s\nlog: {format: xml, level: info}\n" + ROUTE)
    assert run("check", path).stderr == (
        f"{path}:2:3: api.timout: unknown key; did you mean 'timeout'?\n"
        "  2 |   timout: 30s\n"
        "    |   ^\n"
        f"{path}:3:15: log.format: must be auto, console or json\n"
        "  3 | log: {format: xml, level: info}\n"
        "    |               ^\n"
        "2 mistakes\n"
    )


def test_missing_folders_and_a_missing_key_are_mistakes(write: WriteConfig, tmp_path: Path) -> None:
    path = write("routes: [{name: leads, workflow_id: w, folder: leads}]")
    result = run("check", path, BULKGPT_API_KEY=None)

    assert result.exit_code == 78
    assert f"{path}:1:48: routes[leads].folder: inbox {tmp_path}/leads/inbox does not exist; an inbox" in result.stderr
    assert f"{path}:1:1: api: there is no API key" in result.stderr


def test_a_key_that_everybody_can_read_is_a_warning(right: Path, write: WriteConfig, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k\n")
    (tmp_path / "key").chmod(0o644)
    result = run("check", write("api: {api_key_file: key}\n" + right.read_text()))

    assert result.exit_code == 0
    assert result.stderr == f"warning: everybody can read the API key in {tmp_path}/key: chmod 600 it\n"


def test_a_token_that_everybody_can_read_is_a_warning(right: Path, write: WriteConfig, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef\n")
    (tmp_path / "token").chmod(0o644)
    path = write("web: {token_file: token}\n" + right.read_text())
    result = run("check", path)

    warning = f"everybody can read the token in {tmp_path}/token: chmod 600 it"
    assert (result.exit_code, result.stdout) == (0, f"{path}: ok, 1 route\n")
    assert result.stderr == f"warning: {warning}\n"
    assert json.loads(run("check", path, "--json").stdout)["warnings"] == [warning]


def test_json_has_the_same_facts(right: Path, write: WriteConfig) -> None:
    told = {"ok": True, "files": [str(right)], "routes": 1, "mistakes": [], "warnings": []}
    assert json.loads(run("check", right, "--json").stdout) == told
    path = write("api: {timout: 1s}\n" + right.read_text())
    result = run("check", "--json", path)

    message = "unknown key; did you mean 'timeout'?"

    assert (result.exit_code, result.stderr) == (78, "")
    assert json.loads(result.stdout) == {
        "ok": False,
        "files": [str(path)],
        "routes": 0,
        "mistakes": [{"file": str(path), "line": 1, "column": 7, "path": "api.timout", "message": message}],
        "warnings": [],
    }


def test_a_file_that_is_not_there_has_no_line(tmp_path: Path) -> None:
    hint = "name another configuration with --config, or make one with: bulkgpt-watchd init DIR"
    assert run("check", tmp_path / "x.yaml").stderr == f"{tmp_path}/x.yaml: does not exist\n{hint}\n"


@pytest.mark.parametrize(
    "line",
    [
        "api: {api_key: hunter2, timeout: x}",
        "api: {api_kye: hunter2}",
        "api: {apikey: hunter2}",
        "api: {X-API-Key: hunter2}",
        "api: {api_key_file: hunter2-0123456789abcdef0123}",
        "api: {proxy: 'ftp://u:hunter2@h'}",
        "api: {token: hunter2}",
        "log: {level: hunter2-0123456789abcdef0123}",
        "log: {level: [hunter2-0123456789abcdef0123], api_key: 5}",
        "'api_key' : *hunter2",
    ],
)
def test_a_secret_in_a_wrong_line_is_not_shown(write: WriteConfig, line: str) -> None:
    result = run("check", write(line + ROUTE), BULKGPT_API_KEY=None)

    assert result.exit_code == 78
    assert "hunter2" not in result.output
    assert "…" in result.output


def test_a_long_line_is_shown_around_its_mistake_and_harms_no_terminal(write: WriteConfig) -> None:
    match = ", ".join(f"'{number}.csv'" for number in range(100))
    result = run("check", write('log: {format: "\\e[31m\u200b"}' + ROUTE + f"    match: [{match}, 5]\n"))
    shown = [line for line in result.stderr.splitlines() if line.startswith("  ")]

    assert "\u200b" not in result.stderr
    assert len(shown) == 4
    assert all(len(line) < 110 for line in shown)
    assert shown[2][shown[3].index("^")] == "5"


def test_a_line_that_is_too_long_to_be_looked_through_is_not_shown(write: WriteConfig) -> None:
    """The search for secrets in a line of a megabyte took more than a minute, also at each start."""
    path = write(f'x: "{"a" * 1_000_000}"{ROUTE}')

    assert run("check", path).stderr == f"{path}:1:1: x: unknown key\n1 mistake\n"


def test_the_example_is_printed() -> None:
    assert run("example").stdout == example()


def test_the_module_costs_other_commands_nothing() -> None:
    code = (
        "import sys, bulkgpt_watchd.cli.config; print([name for name in ('pydantic', 'yaml') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )

    assert ran.stdout == "[]\n"
