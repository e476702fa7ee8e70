"""`doctor`: each thing that keeps a daemon from working is found, with its fix, and nothing is changed."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from bulkgpt_watchd.cli.doctor.machine import check_clock
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.sandbox import Sandbox, SandboxOptions
from tests.cli.conftest import Bed
from tests.cli.live import live
from tests.cli.test_dry_run import tree
from tests.sample_jobs import sample_job

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="as root only: another user's rights are looked at")
not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="not as root: modes do not bind it")


NO_UNIT = ("--unit", "no-such-unit-of-tests.service")
"""The machine of the tests may have the daemon installed."""


def examine(bed: Bed, *options: str, code: int, **environ: str) -> list[dict[str, Any]]:
    unit = () if "PATH" in environ else NO_UNIT  # a PATH has a bus of its own: test_doctor_unit.py
    ran = bed.cli("doctor", "--json", *unit, *options, **environ)
    assert ran.exit_code == code, ran.output
    content = json.loads(ran.stdout)
    assert content["ok"] is (code == 0)
    return list(content["findings"])


def told(findings: list[dict[str, Any]], what: str, level: str) -> str:
    """Give what is said of one thing, with its fix."""
    found = [one for one in findings if (one["what"], one["level"]) == (what, level)]
    assert found, f"no {level} of {what} among {findings}"
    return " | ".join(f"{one['text']} -> {one['fix']}" for one in found)


def test_all_is_well_before_the_first_start_and_nothing_is_made(bed: Bed) -> None:
    before = {path: inode for path, (inode, _) in tree(bed.folder).items()}
    findings = examine(bed, code=0)

    assert {path: inode for path, (inode, _) in tree(bed.folder).items()} == before
    assert "from api_key_file" in told(findings, "api key", "ok")
    assert "the first start makes it" in told(findings, "marker leads", "ok")
    assert "outbox, error, archive will be made" in told(findings, "folders leads", "ok")
    assert "is not running" in told(findings, "daemon", "warn")
    text = bed.cli("doctor").stdout
    assert "ok    config" in text
    assert "warn  daemon" in text


def test_without_writing_not_even_times_change(bed: Bed) -> None:
    before = tree(bed.folder)
    findings = examine(bed, "--no-write", code=0)
    assert tree(bed.folder) == before
    assert "nothing was tried" in told(findings, "folders leads", "ok")


def test_every_mistake_of_the_configuration_is_a_finding(bed: Bed) -> None:
    bed.config.write_text("api: {timout: 1s}\nroutes: []\n")
    assert "api.timout: unknown key" in told(examine(bed, code=1), "config", "fail")


def test_a_missing_inbox_and_a_missing_named_folder_are_told(bed: Bed) -> None:
    bed.config.write_text(bed.config.read_text().replace("folder: leads", "folder: leads, outbox: nowhere/out"))
    assert "outbox" in told(examine(bed, code=1), "folders leads", "fail")
    bed.inbox.rename(bed.folder / "away")
    assert f"inbox {bed.inbox} is missing" in told(examine(bed, code=1), "folders leads", "fail")
    assert not bed.inbox.exists()


def test_a_token_that_is_open_to_all_or_closed_to_the_daemon_is_told(bed: Bed) -> None:
    from bulkgpt_watchd.cli.doctor.machine import check_token
    from bulkgpt_watchd.config import load

    token = bed.folder / "token"
    token.write_text("0123456789abcdef\n")
    token.chmod(0o644)
    bed.config.write_text(bed.config.read_text().replace("{listen: off}", "{listen: off, token_file: token}"))
    assert f"chmod 600 {token}" in told(examine(bed, code=0), "web token", "warn")
    settings = load(bed.config)  # as root may, and the daemon's user may not
    token.unlink()
    assert [finding.level for finding in check_token(settings)] == ["fail"]


def test_a_key_that_is_missing_or_open_to_all_is_told(bed: Bed) -> None:
    (bed.folder / "key").chmod(0o644)
    assert "chmod 600" in told(examine(bed, code=0), "api key", "warn")
    (bed.folder / "key").unlink()
    assert "does not exist" in told(examine(bed, code=1), "api key", "fail")


def test_a_configuration_that_others_may_write_is_told(bed: Bed) -> None:
    bed.config.chmod(0o666)
    assert "chmod go-w" in told(examine(bed, code=0), "config", "warn")


def test_a_disk_with_less_than_min_free_is_told(bed: Bed) -> None:
    bed.config.write_text(bed.config.read_text().replace("settle: 0", "min_free: 900000TB"))
    findings = examine(bed, code=1)
    assert "min_free" in told(findings, "disk leads", "fail")
    assert "min_free" in told(findings, "disk", "fail")


def test_a_state_that_is_damaged_or_has_no_place_is_told(bed: Bed) -> None:
    bed.state.write_text("something else, and long enough to be read\n" * 100)
    assert examine(bed, code=1)
    bed.config.write_text(bed.config.read_text().replace("state/state.db", "no/such/folder/state.db"))
    assert "install -d" in told(examine(bed, code=1), "state", "fail")


def test_a_work_folder_of_another_state_and_what_no_job_knows_in_it_are_told(bed: Bed) -> None:
    work = bed.inbox / ".bulkgpt-watchd"
    work.mkdir(mode=0o700)
    (work / "route.json").write_text('{"state": "other", "route": "leads"}')
    (work / "aaaaaaaa-known.csv").touch()
    (work / "bbbbbbbb.sent-lost.csv").touch()
    bed.remember(sample_job("aaaaaaaa", state=State.CLAIMED))
    findings = examine(bed, code=1)

    assert "schema" in told(findings, "state", "ok")
    assert "adopt leads" in told(findings, "marker leads", "fail")
    assert "1 in it that no job knows: bbbbbbbb.sent-lost.csv" in told(findings, "work leads", "warn")


@as_root
def test_the_rights_of_the_daemons_user_are_what_counts(of_nobody: Bed) -> None:
    bed = of_nobody
    os.chown(bed.inbox, 0, 0)
    bed.inbox.chmod(0o755)
    ran = bed.cli("doctor")

    assert ran.exit_code == 1
    assert "looked with the rights of user nobody (uid 65534), who owns the state" in ran.stdout
    assert f"{bed.inbox} is not writable: cannot create files in it: permission denied for user nobody" in ran.stdout
    assert f"fix: setfacl -m u:nobody:rwx {bed.inbox}\n" in ran.stdout


@as_root
def test_a_closed_folder_on_the_way_is_named(of_nobody: Bed) -> None:
    bed = of_nobody
    leads = bed.folder / "leads"
    os.chown(leads, 0, 0)
    leads.chmod(0o700)
    assert f"setfacl -m u:nobody:x {leads}" in told(examine(bed, code=1), "inbox leads", "fail")


@as_root
def test_a_folder_that_nobody_may_enter_is_taken_for_a_units_and_not_to_be_opened(of_nobody: Bed) -> None:
    """ProtectHome=yes covers homes with such a folder: opening the real one would help nobody."""
    leads = of_nobody.folder / "leads"
    leads.chmod(0)
    text = told(examine(of_nobody, code=1), "folders leads", "fail")
    assert "its unit must allow it: see `bulkgpt-watchd config systemd`" in text
    assert "setfacl" not in text


@as_root
def test_unreadable_files_and_a_sticky_inbox_are_told(of_nobody: Bed) -> None:
    bed = of_nobody
    (bed.inbox / "secret.csv").write_text("a\n1\n")
    (bed.inbox / "secret.csv").chmod(0o600)
    os.chown(bed.inbox, 0, 0)
    bed.inbox.chmod(0o1777)
    findings = examine(bed, code=1)

    assert f"setfacl -m u:nobody:r {bed.inbox}/secret.csv" in told(findings, "file leads", "warn")
    assert "sticky" in told(findings, "inbox leads", "fail")


@not_as_root
def test_what_the_caller_may_not_write_is_told(bed: Bed) -> None:
    bed.inbox.chmod(0o555)
    assert "not writable" in told(examine(bed, code=1), "inbox leads", "fail")


@pytest.mark.parametrize(
    ("now", "newest", "level"),
    [(1e9, None, "fail"), (5e9, None, "fail"), (1.8e9, 1.8e9 + 86400, "warn")],
)
def test_a_clock_that_cannot_be_right_is_told(now: float, newest: float | None, level: str) -> None:
    (finding,) = check_clock(newest, now)
    assert finding.level == level


# --- with BulkGPT -----------------------------------------------------------------------------------------------------


async def test_beside_a_daemon_all_is_well_and_the_key_is_accepted_without_a_submit(bed: Bed) -> None:
    async with live(bed) as running:
        ran = await running.cli("doctor", "--online", "--json", *NO_UNIT)
        findings = json.loads(ran.stdout)["findings"]
        assert ran.exit_code == 0, findings
        assert "runs and takes commands" in told(findings, "daemon", "ok")
        assert told(findings, "marker leads", "ok") == "ours -> None"
        assert "key accepted" in told(findings, "api", "ok")
        assert not running.sandbox.ledger


async def test_a_wrong_key_is_told_by_what_bulkgpt_answers(bed: Bed) -> None:
    async with Sandbox(SandboxOptions.instant(key="another")) as sandbox:
        bed.config.write_text(bed.config.read_text().replace("http://127.0.0.1:9", sandbox.base_url))
        ran = await _cli(bed, "doctor", "--online", "--json")
    assert "the key or the account is refused" in told(json.loads(ran.stdout)["findings"], "api", "fail")


def test_what_cannot_be_reached_is_told_as_far_as_it_got(bed: Bed) -> None:
    assert "connection refused" in told(examine(bed, "--online", code=1), "api", "fail")
    bed.config.write_text(bed.config.read_text().replace("http://127.0.0.1:9", "https://no-such-host.invalid"))
    assert "cannot be resolved" in told(examine(bed, "--online", code=1), "dns", "fail")


async def _cli(bed: Bed, *arguments: str) -> Any:
    import asyncio

    return await asyncio.to_thread(bed.cli, *arguments)
