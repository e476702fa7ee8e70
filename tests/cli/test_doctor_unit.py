"""`doctor` about systemd and the kernel: what the unit gives and hides, and what is left to be watched."""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bulkgpt_watchd.adapters.sqlite_file import MIGRATIONS
from bulkgpt_watchd.cli.doctor import PATIENCE_S, inotify
from bulkgpt_watchd.cli.doctor.account import Account, apart
from bulkgpt_watchd.cli.doctor.inotify import Used
from bulkgpt_watchd.cli.doctor.machine import check_credential, check_state_folder
from bulkgpt_watchd.cli.doctor.unit import PROPERTIES, Unit, check_unit
from bulkgpt_watchd.config import load
from tests.cli.conftest import Bed
from tests.cli.test_doctor import NO_UNIT, as_root, examine, told

LISTS = ("LoadCredential", "ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "BindPaths", "StateDirectory")
PLAIN: dict[str, Any] = {
    **{name: [] for name in LISTS},
    **dict.fromkeys(("ProtectSystem", "ProtectHome"), "no"),
    "LoadState": "loaded",
    "ActiveState": "active",
    "NeedDaemonReload": False,
    "User": "",
    "PrivateTmp": False,
    "TimeoutStopUSec": 660_000_000,
}
"""A unit without any sandbox, as systemd tells of it on the bus."""

CONFIG = Path("/etc/bulkgpt-watchd/config.yaml")


def bus(bed: Bed, **properties: Any) -> str:
    """Put a busctl on the PATH that tells of a unit; give the PATH."""
    tools = bed.folder / "tools"
    tools.mkdir()
    unit = PLAIN | properties
    answers = {
        interface: "".join(json.dumps({"data": unit[name]}) + "\n" for name in names)
        for interface, names in PROPERTIES.items()
    }
    cases = "\n".join(f"*.{interface}) cat <<'END'\n{answer}END\n;;" for interface, answer in answers.items())
    (tools / "busctl").write_text(f'#!/bin/sh\ncase "$5" in\n{cases}\nesac\n')
    (tools / "busctl").chmod(0o755)
    return f"{tools}:{os.environ['PATH']}"


def of_unit(*paths: str, answer_timeout_s: float = 600, config: Path = CONFIG, **properties: Any) -> list[str]:
    """Give what is found of a unit and folders: level, text and fix."""
    unit = Unit("u.service", PLAIN | properties)
    named = {f"inbox of r{number}": Path(path) for number, path in enumerate(paths)}
    found = check_unit(unit, named, answer_timeout_s, config)
    return [f"{one.level}: {one.text} -> {one.fix}" for one in found]


# --- what the unit gives ----------------------------------------------------------------------------------------------


@as_root
def test_the_user_and_the_credential_of_the_unit_are_looked_at(bed: Bed) -> None:
    path = bus(bed, User="nobody", LoadCredential=[["bulkgpt-api-key", f"{bed.folder}/gone"]])
    findings = examine(bed, code=1, PATH=path)
    assert "user nobody (uid 65534), User= of bulkgpt-watchd.service" in told(findings, "user", "ok")
    assert "is not there" in told(findings, "api key", "fail")


def test_a_credential_without_a_key_or_with_another_than_the_daemon_has_is_told(bed: Bed) -> None:
    settings, file, given = load(bed.config), bed.folder / "of-root", bed.folder / "bulkgpt-api-key"
    unit = Unit("u.service", PLAIN | {"LoadCredential": [["bulkgpt-api-key", str(file)]]})
    environ = {"CREDENTIALS_DIRECTORY": str(bed.folder)}
    file.touch(mode=0o600)
    (empty,) = check_credential(settings, unit, environ)
    assert (empty.level, "is empty" in empty.text) == ("fail", True)
    for content in (file, given):
        content.write_text("key-1\n")
    assert [one.level for one in check_credential(settings, unit, environ)] == ["ok"]
    file.write_text("key-2\n")
    changed, loaded = check_credential(settings, unit, environ)
    assert (changed.level, changed.fix) == ("warn", "systemctl restart u.service")
    assert "key-1" not in changed.text + loaded.text


def test_a_state_folder_that_systemd_will_make_is_not_tried(bed: Bed) -> None:
    bed.config.write_text(bed.config.read_text().replace("state/state.db", "/var/lib/no-such-folder/state.db"))
    settings, account = load(bed.config), Account(os.getuid(), os.getgid(), "us", "")
    unit = Unit("u.service", PLAIN | {"StateDirectory": ["no-such-folder"]})
    (finding,) = check_state_folder(settings, account, unit, writes=True)
    assert (finding.level, "systemd makes the folder" in finding.text) == ("ok", True)


# --- what it hides ----------------------------------------------------------------------------------------------------


def test_a_unit_that_hides_a_folder_is_told_with_the_drop_in_as_its_fix(bed: Bed) -> None:
    path = bus(bed, ProtectSystem="strict", ReadWritePaths=[str(bed.state.parent)])
    text = told(examine(bed, code=1, PATH=path), "unit", "fail")
    assert f"ProtectSystem=strict makes it read-only: inbox of leads {bed.inbox}, outbox of leads" in text
    assert f"bulkgpt-watchd config systemd -c {bed.config} > /etc/systemd/system/bulkgpt-watchd.service.d/" in text
    assert "state" not in text.split(" -> ")[0]


def test_a_link_to_a_folder_is_followed_as_systemd_follows_it(bed: Bed) -> None:
    (bed.folder / "real").mkdir()
    bed.inbox.rename(bed.folder / "real/inbox")
    bed.inbox.symlink_to(bed.folder / "real/inbox")
    path = bus(bed, ProtectSystem="strict", ReadWritePaths=[str(bed.state.parent), str(bed.folder / "leads")])
    assert f"inbox of leads {bed.folder}/real/inbox" in told(examine(bed, code=1, PATH=path), "unit", "fail")


@pytest.mark.parametrize(
    ("properties", "path", "why"),
    [
        ({}, "/srv/x", None),
        ({"ProtectSystem": "strict"}, "/srv/x", "ProtectSystem=strict makes it read-only"),
        ({"ProtectSystem": "strict", "ReadWritePaths": ["-/srv"]}, "/srv/x", None),
        ({"ProtectSystem": "strict", "ReadWritePaths": ["-/srv/a b"]}, "/srv/a b/x", None),
        ({"ProtectSystem": "strict", "StateDirectory": ["bulkgpt-watchd"]}, "/var/lib/bulkgpt-watchd", None),
        ({"ProtectSystem": "full"}, "/srv/x", None),
        ({"ProtectSystem": "full"}, "/etc/x", "ProtectSystem=full makes it read-only"),
        ({"ProtectHome": "yes", "ReadWritePaths": ["/home"]}, "/home/x", "ProtectHome=yes hides it"),
        ({"ProtectHome": "tmpfs", "BindPaths": [["/home/a: b", "/home/a: b", True, 16384]]}, "/home/a: b/in", None),
        ({"ProtectHome": "read-only"}, "/home/x", "ProtectHome=read-only makes it read-only"),
        ({"PrivateTmp": True}, "/tmp/x", "PrivateTmp=yes hides it"),
        ({"ReadOnlyPaths": ["/srv"]}, "/srv/x", "ReadOnlyPaths= makes it read-only"),
        ({"InaccessiblePaths": ["/srv"], "ReadWritePaths": ["/srv"]}, "/srv/x", "InaccessiblePaths= hides it"),
    ],
)
def test_what_a_unit_hides_is_told_by_the_setting(properties: dict[str, Any], path: str, why: str | None) -> None:
    (found,) = of_unit(path, **properties)
    assert found.startswith(f"fail: {why}: inbox of r0 {path} -> " if why else "ok: ")


def test_one_setting_is_one_finding_and_its_fix_leaves_other_homes_hidden() -> None:
    homes, system = of_unit("/home/a", "/srv/b", "/home/c", ProtectSystem="strict", ProtectHome="yes")
    assert "inbox of r0 /home/a, inbox of r2 /home/c -> " in homes
    assert "ProtectHome=no" not in homes
    assert homes.split(" -> ")[1] == system.split(" -> ")[1]
    assert " -c " not in homes, "the configuration is where the unit has it"


def test_a_stop_that_is_shorter_than_an_answer_may_take_is_told() -> None:
    stop, rest = of_unit("/srv/x", answer_timeout_s=1200)
    assert "a stop may take 11m, and answers to submits may take 20m (api.answer_timeout)" in stop
    assert "config systemd" in stop
    assert rest.startswith("ok: ")


def test_files_that_systemd_has_not_read_again_are_told() -> None:
    old, _ = of_unit("/srv/x", NeedDaemonReload=True)
    assert "systemctl daemon-reload" in old


def test_a_machine_without_systemd_is_told_as_skipped() -> None:
    (finding,) = check_unit(Unit("u.service", why_not="there is no busctl"), {}, 600, CONFIG)
    assert (finding.level, "skipped" in finding.text) == ("warn", True)


# --- what is left to be watched ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "others", "fix"),
    [
        (3, Used(0, 0), None),
        (8192, Used(0, 127), None),
        (9000, Used(0, 0), "max_user_watches=18000"),
        (3, Used(8190, 1), "max_user_watches=16386"),
        (3, Used(0, 128), "max_user_instances=256"),
    ],
)
def test_the_limits_of_inotify_are_held_against_all_of_the_user(wanted: int, others: Used, fix: str | None) -> None:
    limits = {"max_user_watches": 8192, "max_user_instances": 128}
    (finding,) = inotify.check(wanted, others, limits.__getitem__)
    assert finding.level == ("ok" if fix is None else "warn")
    assert (fix or "") in str(finding.fix)


def test_what_other_processes_watch_is_counted(tmp_path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    daemon = os.getppid()  # any but this one
    before = inotify.used(os.getuid(), daemon)
    instance = libc.inotify_init()
    try:
        assert libc.inotify_add_watch(instance, os.fsencode(tmp_path), 0x100) > 0  # IN_CREATE
        assert inotify.used(os.getuid(), daemon).watches > before.watches
        assert inotify.used(os.getuid(), daemon).instances > before.instances
        assert inotify.used(os.getuid(), os.getpid()).watches <= before.watches
    finally:
        os.close(instance)


# --- somebody else, and a state of before -----------------------------------------------------------------------------


@as_root
def test_rights_of_somebody_else_are_not_told_as_the_daemons(of_nobody: Bed) -> None:
    """No command is advised that would open the daemon's folders to who happens to ask."""
    bed, stranger = of_nobody, Account(4711, 4711, "4711", "")
    stdout = apart(stranger, lambda: bed.cli("doctor", "--json", *NO_UNIT).stdout, PATIENCE_S)
    findings = json.loads(stdout)["findings"]
    assert "are not those of nobody, who owns the state -> run doctor as root" in told(findings, "user", "warn")
    assert [one for one in findings if "leads" in one["what"] or one["level"] == "fail"] == []
    assert "setfacl" not in stdout


def test_a_state_that_the_next_start_migrates_is_no_failure(bed: Bed) -> None:
    bed.remember()
    with closing(sqlite3.connect(bed.state)) as state:
        state.execute(f"PRAGMA user_version = {len(MIGRATIONS) - 1}")
    assert "it migrates -> start the daemon" in told(examine(bed, code=0), "state", "warn")
