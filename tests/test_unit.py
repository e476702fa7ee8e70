"""Hold the systemd unit and its drop-in to what systemd and the program know; as it runs: system/test_systemd.py."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from bulkgpt_watchd.cli import root
from bulkgpt_watchd.config import ApiSettings
from bulkgpt_watchd.config.api_key import CREDENTIAL
from bulkgpt_watchd.config.dropin import KEY_FILE, ROUTES_FOLDER
from bulkgpt_watchd.config.models import StateSettings
from bulkgpt_watchd.config.quantities import parse_duration
from bulkgpt_watchd.config.settings import default_path
from bulkgpt_watchd.core.exit_codes import CONFIG_WRONG
from tests.pages import PAGES, ROOT

UNIT = ROOT / "systemd" / "bulkgpt-watchd.service"
PROGRAM = "/opt/bulkgpt-watchd/bin/bulkgpt-watchd"
PAGE = PAGES["docs/install.md"]

EXPOSURE = 15
"""Tenths, as `systemd-analyze security --threshold` counts: nothing worse is shipped."""


def settings_of(text: str) -> dict[str, list[str]]:
    """Give the values of each key, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found[key].append(value)
    return found


SERVICE = settings_of(UNIT.read_text(encoding="utf-8"))


def only(key: str) -> str:
    [value] = SERVICE[key]
    return value


# --- the unit ---------------------------------------------------------------------------------------------------------


def test_a_stop_has_time_for_the_last_answers() -> None:
    minutes = re.fullmatch(r"(\d+)min", only("TimeoutStopSec"))

    assert minutes is not None
    assert parse_duration(f"{minutes[1]}m") > ApiSettings().answer_timeout


def test_the_unit_and_the_program_mean_the_same_places() -> None:
    name, _, key = only("LoadCredential").partition(":")

    assert (name, Path(key)) == (CREDENTIAL, KEY_FILE)
    assert KEY_FILE.parent == default_path({}).parent
    assert StateSettings().path.parent == Path("/var/lib") / only("StateDirectory")
    assert only("RuntimeDirectory") == only("StateDirectory")
    assert only("ReadWritePaths") == f"-{ROUTES_FOLDER}"
    assert (only("ExecStart"), only("ExecReload")) == (f"{PROGRAM} run", f"{PROGRAM} reload")


def test_only_a_wrong_configuration_keeps_it_down() -> None:
    assert only("Restart") == "on-failure"
    assert only("RestartPreventExitStatus") == str(CONFIG_WRONG)
    assert only("StartLimitIntervalSec") == "0"


def test_user_and_folders_of_the_unit_are_made() -> None:
    users = (ROOT / "systemd/sysusers.d/bulkgpt-watchd.conf").read_text()
    folders = (ROOT / "systemd/tmpfiles.d/bulkgpt-watchd.conf").read_text()

    assert re.findall(r"^u (\S+) ", users, re.MULTILINE) == [only("User")] == [only("Group")]
    assert re.findall(r"^d (\S+) ", folders, re.MULTILINE) == [str(KEY_FILE.parent), str(ROUTES_FOLDER)]


def test_the_page_sets_up_what_the_unit_needs() -> None:
    """The machine of the system tests has no network: this is what they leave out."""
    assert f"# python3 -m venv {Path(PROGRAM).parents[1]}\n" in PAGE
    for lock in ("runtime", "build"):
        assert (ROOT / f"requirements/{lock}.txt").exists()
        assert f"-r requirements/{lock}.txt" in PAGE


# --- the drop-in ------------------------------------------------------------------------------------------------------

ROUTE = "  - {name: leads, workflow_id: w, folder: %s}\n"


@pytest.fixture
def dropin(tmp_path: Path) -> Dropin:
    return Dropin(tmp_path)


class Dropin:
    """Make the drop-in of a configuration, as a person does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, text: str, name: str = "config.yaml") -> str:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        result = CliRunner().invoke(root, ["config", "systemd", "-c", str(path)])
        assert (result.exit_code, result.stderr) == (0, ""), result.stderr
        return result.stdout

    def settings(self, text: str, name: str = "config.yaml") -> dict[str, list[str]]:
        return settings_of(self.of(text, name))


@pytest.mark.parametrize(
    ("folder", "key", "word"),
    [
        ("/data/leads", "ReadWritePaths", "-/data/leads"),
        ("/data/a b", "ReadWritePaths", '"-/data/a b"'),
        ("/data/100%", "ReadWritePaths", "-/data/100%%"),
        ("/data/grün", "ReadWritePaths", "-/data/grün"),
        ('/data/"a\\b', "ReadWritePaths", '"-/data/\\"a\\\\b"'),
        ("/data/a:b", "ReadWritePaths", '"-/data/a:b"'),
        ("/home/anna/leads", "BindPaths", "-/home/anna/leads"),
        ("/run/user/1000/leads", "BindPaths", "-/run/user/1000/leads"),
        ("/var/tmp/leads", "BindPaths", "-/var/tmp/leads"),
    ],
)
def test_a_folder_elsewhere_is_opened_and_its_path_written_as_systemd_reads_it(
    dropin: Dropin, folder: str, key: str, word: str
) -> None:
    settings = dropin.settings("routes:\n" + ROUTE % f"'{folder}'")

    assert settings[key] == [word]
    is_in_home = folder.startswith(("/home", "/run/user"))
    assert settings["ProtectHome"] == (["tmpfs"] if is_in_home else [])


def test_a_folder_that_the_unit_opens_is_not_in_it(dropin: Dropin) -> None:
    assert "ReadWritePaths" not in dropin.settings("routes:\n" + ROUTE % f"{ROUTES_FOLDER}/leads")


def test_a_link_is_followed(dropin: Dropin, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    settings = dropin.settings("routes:\n" + ROUTE % (tmp_path / "link"))

    assert [word.strip('"') for word in settings["BindPaths"] + settings["ReadWritePaths"]] == [f"-{tmp_path}/real"]


def test_a_path_that_no_unit_can_have_is_told(dropin: Dropin) -> None:
    printed = dropin.of("routes:\n" + ROUTE % '"/data/a\\nUser=root"')

    assert "# route leads: its folder: a unit cannot name /data/a\\x0aUser=root; rename that folder.\n" in printed
    assert "User" not in settings_of(printed)


def test_folders_that_are_named_one_by_one_are_opened_one_by_one(dropin: Dropin) -> None:
    """But inbox and work together: files are renamed from one to the other, and not across mounts."""
    folders = "inbox: /data/in, work: /data/.work, outbox: /opt/out, error: /opt/e, archive: /opt/out/a"
    settings = dropin.settings(f"routes: [{{name: a, workflow_id: w, {folders}}}]")

    assert settings["ReadWritePaths"] == ["-/data", "-/opt/out", "-/opt/e"]


def test_state_and_socket_elsewhere_are_opened(dropin: Dropin) -> None:
    places = "state: {path: /data/state/x.db}\ncontrol: {socket: /run/ours/x.sock}\n"

    assert dropin.settings(places + "routes:\n" + ROUTE % "/srv/bulkgpt/a")["ReadWritePaths"] == [
        "-/data/state",
        "-/run/ours",
    ]


@pytest.mark.parametrize(
    ("api", "credentials"),
    [
        ("{}", []),
        (f"{{api_key_file: {KEY_FILE}}}", []),
        ("{api_key_file: '/data/100%: key'}", ["", f"{CREDENTIAL}:/data/100%%: key"]),
        ("{api_key: abc}", [""]),
    ],
)
def test_the_key_is_taken_from_where_the_configuration_has_it(dropin: Dropin, api: str, credentials: list[str]) -> None:
    assert dropin.settings(f"api: {api}\nroutes:\n" + ROUTE % "/srv/bulkgpt/a")["LoadCredential"] == credentials


@pytest.mark.parametrize(("timeout", "stop"), [("5m", []), ("10m", []), ("11m", ["720s"]), ("2h", ["7260s"])])
def test_a_stop_is_given_the_time_that_answers_are(dropin: Dropin, timeout: str, stop: list[str]) -> None:
    api = f"api: {{answer_timeout: {timeout}}}\n"

    assert dropin.settings(f"{api}routes:\n" + ROUTE % "/srv/bulkgpt/a")["TimeoutStopSec"] == stop


def test_a_configuration_elsewhere_is_named(dropin: Dropin, tmp_path: Path) -> None:
    settings = dropin.settings("routes:\n" + ROUTE % "/srv/bulkgpt/a", "my config%.yaml")

    assert settings["Environment"] == [f'"BULKGPT_WATCHD_CONFIG={tmp_path}/my config%%.yaml"']


def test_mistakes_are_told_and_nothing_is_printed(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("nonsense: 1\n")
    result = CliRunner().invoke(root, ["config", "systemd", "-c", str(tmp_path / "config.yaml")])

    assert (result.exit_code, result.stdout) == (78, "")


# --- what systemd says ------------------------------------------------------------------------------------------------

MANY = """
api: {api_key_file: /data/key, answer_timeout: 20m}
routes:
  - {name: home, workflow_id: w, folder: "/home/anna: m\\u00fcller/up load"}
  - {name: odd, workflow_id: w, folder: '/data/100% "quoted" \\back $x ; #'}
"""


@pytest.fixture(params=["alone", "with a drop-in"])
def unit(request: pytest.FixtureRequest, tmp_path: Path, dropin: Dropin) -> Path:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here (apt install systemd)")
    path = tmp_path / UNIT.name
    # The program is not installed where the unit has it: any that is there stands for it.
    path.write_text(UNIT.read_text(encoding="utf-8").replace(PROGRAM, sys.executable), encoding="utf-8")
    if request.param != "alone":
        (tmp_path / f"{UNIT.name}.d").mkdir()
        (tmp_path / f"{UNIT.name}.d" / "routes.conf").write_text(dropin.of(MANY), encoding="utf-8")
    return path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], check=False, capture_output=True, text=True)


def test_systemd_has_nothing_to_say_about_it(unit: Path) -> None:
    """It ends with 0 on unknown keys and wrong values too, so what it says is what counts."""
    result = analyze("verify", unit)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_systemd_reads_the_drop_in_too(unit: Path) -> None:
    """Else the test before would say nothing about it."""
    (unit.parent / f"{unit.name}.d").mkdir(exist_ok=True)
    (unit.parent / f"{unit.name}.d" / "zz.conf").write_text("[Service]\nNonsense=1\n")

    assert "Nonsense" in analyze("verify", unit).stderr


def test_it_is_as_hardened_as_is_promised(unit: Path) -> None:
    result = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", unit)

    assert result.returncode == 0, result.stdout
