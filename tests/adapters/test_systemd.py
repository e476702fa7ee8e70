from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.systemd import is_journal, notify, watchdog_interval_s


@pytest.mark.parametrize("is_abstract", [False, True])
def test_facts_go_in_one_datagram(tmp_path: Path, *, is_abstract: bool) -> None:
    """`RELOADING=1` is worth nothing where its `MONOTONIC_USEC` comes in another."""
    path = f"@bulkgpt-watchd-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path.replace("@", "\0", 1) if is_abstract else path)
        sock.settimeout(5)
        assert notify({"NOTIFY_SOCKET": path}, RELOADING=1, MONOTONIC_USEC=12345678)
        assert sock.recv(4096) == b"RELOADING=1\nMONOTONIC_USEC=12345678"


def test_a_status_stays_on_one_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        assert notify({"NOTIFY_SOCKET": str(tmp_path / "notify")}, STATUS="a\nWATCHDOG=trigger \udce4 ü")
        assert sock.recv(4096) == "STATUS=a WATCHDOG=trigger ? ü".encode()


@pytest.mark.parametrize("path", [None, "", "vsock:2:1234", "/nowhere/notify", "@bulkgpt-watchd-nobody"])
def test_without_systemd_nothing_happens(path: str | None) -> None:
    assert not notify({} if path is None else {"NOTIFY_SOCKET": path}, READY=1)


def test_a_manager_that_does_not_read_does_not_hold_us_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        assert not all(notify(environ, WATCHDOG=1) for _ in range(10_000))


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(environ: dict[str, str], interval_s: float | None) -> None:
    assert watchdog_interval_s(environ) == interval_s


def test_the_journal_is_known_by_device_and_inode(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.touch()
    fd = os.open(path, os.O_RDONLY)
    status = os.fstat(fd)

    assert is_journal(fd, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    assert not is_journal(fd, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
    assert not is_journal(fd, {})
    os.close(fd)
    assert not is_journal(fd, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
