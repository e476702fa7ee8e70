"""`init` makes all that a first route needs, or nothing; it never shows the key."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bulkgpt_watchd.cli import root
from bulkgpt_watchd.config import load, read_api_key
from tests.cli.conftest import NO_ENVIRON, invoke
from tests.terminal import on_terminal

ROOT = Path(__file__).parents[2]
KEY = "sk-0123456789abcdef0123456789abcdef"
WORKFLOW = "v0#Workflow#6b056f598d994d1ca98821cca221d07e#1721762149339"


def init(*arguments: str | Path, given: bytes = b"") -> Result:
    """Run `init` without a terminal."""
    runner = CliRunner(catch_exceptions=False)
    return runner.invoke(root, ["init", *map(str, arguments)], input=given, env=NO_ENVIRON)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


ALL = [
    "api-key",
    "config.yaml",
    "leads",
    "leads/archive",
    "leads/error",
    "leads/inbox",
    "leads/outbox",
    "state",
]


def test_it_makes_configuration_folders_and_key_with_the_right_modes(tmp_path: Path) -> None:
    made = init(tmp_path / "new/place", "--workflow-id", WORKFLOW, "--key-stdin", given=f" {KEY}\r\n".encode())
    place = tmp_path / "new/place"

    assert (made.exit_code, made.stderr) == (0, "")
    assert files(place) == ALL
    assert (mode(place / "api-key"), mode(place / "state"), mode(place / "config.yaml")) == (0o600, 0o750, 0o644)
    assert (place / "api-key").read_text() == f"{KEY}\n"
    assert {mode(place / f"leads/{name}") for name in ("inbox", "outbox", "error", "archive")} == {0o755}
    settings = load(place / "config.yaml")
    (route,) = settings.routes
    assert (route.name, route.workflow_id, route.inbox) == ("leads", WORKFLOW, place / "leads/inbox")
    assert settings.state.path == place / "state/state.db"
    assert (read_api_key(settings, {}).value, read_api_key(settings, {}).warnings) == (KEY, ())
    assert KEY not in made.output
    assert invoke("config", "check", place / "config.yaml").exit_code == 0


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_no_umask_opens_anything_to_the_world(tmp_path: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        init(tmp_path / "new", "--workflow-id", "w", "--key-stdin", given=KEY.encode())
    finally:
        os.umask(old)

    assert all(mode(path) & 0o002 == 0 for path in (tmp_path / "new").rglob("*"))
    assert mode(tmp_path / "new/api-key") == 0o600


def test_every_answer_has_an_option(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    made = init(
        tmp_path,
        "--workflow-id",
        "5",
        "--route",
        "null",
        "--base-url",
        "http://[::1]:1/",
        "--key-file",
        tmp_path / "key",
    )
    settings = load(tmp_path / "config.yaml")

    assert made.exit_code == 0
    assert (settings.routes[0].name, settings.routes[0].workflow_id) == ("null", "5")
    assert settings.api.base_url == "http://[::1]:1"
    assert settings.api.api_key_file == tmp_path / "key"
    assert not (tmp_path / "api-key").exists()
    assert "  api_key_file: key\n" in (tmp_path / "config.yaml").read_text(), "it may be moved with its folder"


def test_a_key_file_elsewhere_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(KEY)
    monkeypatch.chdir(tmp_path)
    made = init("new", "--workflow-id", "w", "--key-file", "key")

    assert made.exit_code == 0
    assert load(tmp_path / "new/config.yaml").api.api_key_file == tmp_path / "key"
    assert "api-key" not in made.stdout


def test_without_a_key_it_says_where_to_put_it_and_makes_no_empty_file(tmp_path: Path) -> None:
    made = init(tmp_path / "new", "--workflow-id", "w")
    key_file = tmp_path / "new/api-key"

    assert made.exit_code == 0
    assert files(tmp_path / "new") == ALL[1:]
    assert "The API key is missing. Paste it after this command" in made.stdout
    assert f"\n  (umask 077; cat > {key_file})\n" in made.stdout
    checked = invoke("config", "check", tmp_path / "new/config.yaml")
    assert f"api.api_key_file: {key_file} does not exist" in checked.stderr


def test_the_next_three_commands_are_printed(tmp_path: Path) -> None:
    made = init(tmp_path / "my place", "--workflow-id", "w", "--key-stdin", given=KEY.encode())
    commands = made.stdout.split("\nNext: ")[1].splitlines()[1:]

    assert [line.partition(" -c ")[2] for line in commands] == [
        f"'{tmp_path}/my place/config.yaml' {command}" for command in ("config check", "run", "status")
    ]


@pytest.mark.parametrize("name", [b"it's 5$", b"two\nlines\\n", b"not utf-8 \xff'"])
def test_the_commands_are_one_line_each_whatever_the_folder_is_called(tmp_path: Path, name: bytes) -> None:
    made = init(tmp_path / os.fsdecode(name), "--workflow-id", "w", "--key-stdin", given=KEY.encode())
    first = made.stdout.split("\nNext: ")[1].splitlines()[1]
    word = first.partition(" -c ")[2].removesuffix(" config check")
    read = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)

    assert read.stdout == os.fsencode(tmp_path) + b"/" + name + b"/config.yaml"


def test_no_folder_at_all_is_not_the_one_that_we_are_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = init("", "--workflow-id", "w")

    assert (made.exit_code, files(tmp_path)) == (2, [])
    assert "DIR is empty; write . for this folder" in made.stderr


def test_json_has_the_same_facts(tmp_path: Path) -> None:
    told = json.loads(init(tmp_path, "--workflow-id", "w", "--json").stdout)

    assert (told["config"], told["inbox"]) == (str(tmp_path / "config.yaml"), str(tmp_path / "leads/inbox"))
    assert (told["api_key_file"], told["has_key"], len(told["next"])) == (str(tmp_path / "api-key"), False, 4)


@pytest.mark.parametrize("there", ["config.yaml", "api-key", "state", "leads", "leads/inbox"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    path = tmp_path / there
    path.parent.mkdir(exist_ok=True)
    if "." in there or "-" in there:
        path.write_text("mine")
    else:
        path.mkdir()
    before = files(tmp_path)
    made = init(tmp_path, "--workflow-id", "w", "--key-stdin", given=KEY.encode())

    assert (made.exit_code, made.stdout) == (77, "")
    assert made.stderr.endswith(f"nothing is overwritten; there is already: {tmp_path}/{there.partition('/')[0]}\n")
    assert files(tmp_path) == before


def test_a_dangling_link_is_in_the_way_too(tmp_path: Path) -> None:
    (tmp_path / "api-key").symlink_to("/nowhere")
    made = init(tmp_path, "--workflow-id", "w", "--key-stdin", given=KEY.encode())

    assert made.exit_code == 77
    assert not os.path.exists("/nowhere")


def test_other_files_are_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()

    assert init(tmp_path, "--workflow-id", "w").exit_code == 0


def test_what_cannot_be_made_whole_is_not_made_at_all(tmp_path: Path) -> None:
    """The name of the route's folder fits; the disk is full after the configuration in this one."""
    (tmp_path / "file").write_text("")
    made = init(tmp_path / "file/new", "--workflow-id", "w")
    assert made.exit_code == 1
    assert made.stderr == f"bulkgpt-watchd: nothing was made: {tmp_path}/file/new: Not a directory\n"

    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from bulkgpt_watchd.cli import main; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "init", tmp_path / "a/b", "--workflow-id", "w"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "bulkgpt-watchd: nothing was made: writing: File too large\n"
    assert files(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "Missing option '--workflow-id': there is no terminal to ask for it."),
        (["--workflow-id", ""], "'--workflow-id': must not be empty"),
        (["--workflow-id", " x"], "'--workflow-id': must not begin or end with a space"),
        (["--workflow-id", "w", "--route", "a b"], "'--route': must be 1 to 64 letters"),
        (["--workflow-id", "w", "--route", "state"], "'--route': must be another name"),
        (["--workflow-id", "w", "--base-url", "http://example.com"], "'--base-url': must begin with https://"),
        (["--workflow-id", "w", "--key-stdin", "--key-file", "x"], "--key-file and --key-stdin exclude each other"),
        (["--workflow-id", "w", "--key-file", "/nowhere/key"], "'--key-file': /nowhere/key does not exist"),
        (["--workflow-id", "w", "--key-file", KEY], "'--key-file': what looks like the key itself does not exist"),
        (["--workflow-id", "w", "--key-file", b"/\xff.key"], r"'--key-file': /\xff.key has a name that is not UTF-8"),
        (["--workflow-id", "w", "--key-stdin"], "what came from standard input is empty"),
    ],
)
def test_a_wrong_or_missing_answer_is_a_mistake_of_usage_and_makes_nothing(
    tmp_path: Path, arguments: list[str | bytes], fault: str
) -> None:
    made = init(tmp_path / "new", *map(os.fsdecode, arguments))

    assert (made.exit_code, made.stdout) == (2, "")
    assert fault in " ".join(made.stderr.split())
    assert KEY not in made.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (b"\n", "is empty"),
        (f"{KEY}\n{KEY}\n".encode(), "has several lines"),
        (f"{KEY} {KEY}".encode(), "has spaces"),
        (b"\xff" + KEY.encode(), "has spaces, control or non-ASCII characters"),
        (KEY.encode() * 1000, "is too long for an API key"),
    ],
)
def test_what_cannot_be_a_key_is_refused_without_showing_it(tmp_path: Path, given: bytes, fault: str) -> None:
    made = init(tmp_path / "new", "--workflow-id", "w", "--key-stdin", given=given)

    assert (made.exit_code, made.stdout) == (2, "")
    assert f"what came from standard input {fault}" in made.stderr
    assert KEY not in made.stderr
    assert not (tmp_path / "new").exists()


def test_there_is_no_way_to_give_the_key_as_an_argument() -> None:
    """Everybody may read the arguments of a process."""
    options = re.findall(r"^ +(--\S+ ?[A-Z]*) ", init("--help").stdout, re.MULTILINE)

    assert [option for option in options if "key" in option] == ["--key-file PATH", "--key-stdin "]


ID, NAME, LATER = "BulkGPT workflow: ", " [leads]: ", "Enter: later): "


def asked(answers: list[tuple[str, str]], *arguments: str | Path) -> tuple[int, str, str]:
    """Run `init` on a terminal; give exit code, stdout, and what the terminal showed."""
    return on_terminal([sys.executable, "-m", "bulkgpt_watchd", "init", *arguments], answers, cwd=ROOT)


def test_on_a_terminal_it_asks_again_until_the_answers_are_right_and_never_shows_the_key(tmp_path: Path) -> None:
    answers = [(ID, ""), (ID, WORKFLOW), (NAME, "a b"), (NAME, "customers")]
    answers += [(LATER, f"{KEY} x"), (LATER, KEY)]
    code, printed, shown = asked(answers, tmp_path / "new")

    assert code == 0
    assert (tmp_path / "new/api-key").read_text() == f"{KEY}\n"
    assert load(tmp_path / "new/config.yaml").routes[0].name == "customers"
    assert "Name of the route, and of its folder [leads]: " in shown
    assert "Error: must be 1 to 64 letters" in shown
    assert "Error: it has spaces, control or non-ASCII characters" in shown
    assert KEY not in shown + printed


def test_on_a_terminal_enter_takes_what_is_proposed_and_leaves_the_key_for_later(tmp_path: Path) -> None:
    code, printed, _ = asked([(ID, "w"), (NAME, ""), (LATER, "")], tmp_path / "new")

    assert code == 0
    assert files(tmp_path / "new") == ALL[1:]
    assert "The API key is missing." in printed


def test_what_options_give_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    arguments = ("--workflow-id", "w", "--route", "r", "--key-file", tmp_path / "key")

    assert asked([], tmp_path / "new", *arguments)[::2] == (0, "")


def test_a_key_that_is_promised_is_asked_for_on_a_terminal_too(tmp_path: Path) -> None:
    arguments = ("--workflow-id", "w", "--route", "r", "--key-stdin")
    code, printed, shown = asked([("(not shown): ", KEY)], tmp_path / "new", *arguments)

    assert (code, (tmp_path / "new/api-key").read_text()) == (0, f"{KEY}\n")
    assert KEY not in printed + shown


def test_a_person_who_changes_their_mind_leaves_nothing_behind(tmp_path: Path) -> None:
    code, printed, _ = asked([(ID, "w"), (NAME, "\x04")], tmp_path / "new")

    assert (code, printed) == (130, "")
    assert not (tmp_path / "new").exists()
