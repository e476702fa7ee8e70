"""A network that is slow and loses packets, or all of them for a while: everything takes longer, and that is all."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from bulkgpt_watchd.sandbox import Sandbox, SandboxOptions, answer
from tests.system.bed import Bed
from tests.system.bulk import in_thread
from tests.system.process import Daemon, wait

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

RATE = 1_000_000
"""Bits a second of a poor line."""

LOST_SHARE = 0.1
"""Of the packets both ways: at twice that TCP hardly gets on, and one file takes from 5 to 40 s."""

GONE_S = 6.0

ROWS = 8000
"""Of 50 bytes each: four seconds on that line, with what base64 adds, if nothing were lost."""

ROWS_BUFFERED = 2200
"""So few that our buffers take them all at once, and too many to be sent without waiting for what becomes of them."""

ENDS_S = 300.0
"""It takes half a minute; chance may want the same packet to be lost again and again."""

NEW_NETWORK = 0x40000000
"""CLONE_NEWNET of linux/sched.h."""

NEEDED = {"ip": "iproute2", "tc": "iproute2", "iptables": "iptables", "nsenter": "util-linux"}


class Network:
    """Be a network of its own, with nothing but a loopback; it goes with the process that holds it."""

    def __init__(self, holder: int) -> None:
        self._path = f"/proc/{holder}/ns/net"
        self.inside = ("nsenter", f"--net={self._path}")

    def does(self, *command: str) -> str:
        """Run a command in it that must succeed, unless this kernel cannot do it."""
        done = subprocess.run([*self.inside, *command], check=False, capture_output=True, text=True, timeout=20)
        if done.returncode != 0:
            pytest.skip(f"this kernel makes no network bad: {' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def enter(self) -> None:
        """Take this thread into it, and no other."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open(self._path, "rb") as network:
            if libc.setns(network.fileno(), NEW_NETWORK) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def slow(self) -> None:
        self.does("tc", "qdisc", "add", "dev", "lo", "root", *f"tbf rate {RATE} burst 16kb latency 400ms".split())

    def lossy(self) -> None:
        chance = f"statistic --mode random --probability {LOST_SHARE}"
        self.does("iptables", "-A", "INPUT", "-p", "tcp", "-m", *chance.split(), "-j", "DROP")

    def lost(self) -> int:
        """Count the packets that the lossy line has lost."""
        return int(self.does("iptables", "-nvxL", "INPUT").splitlines()[-1].split()[0])

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Lose all packets."""
        self.does("iptables", "-I", "INPUT", "-j", "DROP")
        yield
        self.does("iptables", "-D", "INPUT", "-j", "DROP")


@pytest.fixture
def network() -> Iterator[Network]:
    if os.geteuid() != 0:
        pytest.skip("not as root: only root can make a network")
    if missing := sorted({package for program, package in NEEDED.items() if shutil.which(program) is None}):
        pytest.skip(f"no bad network here (apt install {' '.join(missing)})")
    command = ["unshare", "--net", "sh", "-ec", "ip link set lo mtu 1500 up; echo it is there; exec sleep infinity"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            if not holder.stdout.readline():
                pytest.skip("no network of its own can be made here (unshare --net)")
            yield Network(holder.pid)
        finally:
            holder.kill()


@pytest.fixture
def sandbox(options: SandboxOptions, network: Network) -> Iterator[Sandbox]:
    """Have the sandbox in there."""

    @asynccontextmanager
    async def inside() -> AsyncIterator[Sandbox]:
        network.enter()
        async with Sandbox(options) as sandbox:
            yield sandbox

    with in_thread(inside) as (opened, _):
        yield opened


@pytest.fixture
def patience() -> dict[str, str]:
    """Say how patient the daemon is: as it is by default, longer than a line is gone here."""
    return {"timeout": "2m", "answer_timeout": "10m"}


@pytest.fixture
def daemon(bed: Bed, network: Network, patience: dict[str, str]) -> Daemon:
    """Start a daemon in there."""
    bed.api |= patience
    return bed.start(before=network.inside)


def content(number: int, rows: int = ROWS) -> bytes:
    return b"Input_1\n" + b"".join(b"%d %s\n" % (10_000 * number + row, b"x" * 44) for row in range(rows))


def holds(bed: Bed, daemon: Daemon, files: int) -> None:
    """See the right results, of one POST each, and nothing that went wrong."""
    assert bed.files("outbox") == {f"{number}.csv": answer(content(number)) for number in range(files)}
    assert len(bed.sandbox.ledger) == files
    assert bed.sandbox.downloads == files
    assert [line["event"] for line in daemon.lines() if line["level"] in {"warning", "error"}] == []
    assert daemon.told("job.deferred") == daemon.told("gate.shut") == []


@pytest.mark.fault("F19")
def test_a_slow_line_that_loses_packets_makes_everything_slower_and_nothing_else(
    bed: Bed, network: Network, daemon: Daemon, record_property: Callable[[str, int], None]
) -> None:
    network.slow()
    network.lossy()
    started = time.monotonic()
    for number in range(2):
        bed.drop(f"{number}.csv", content(number))
    bed.wait_ended(2, ENDS_S)
    sent_bits = 8 * sum(record.body_bytes for record in bed.sandbox.ledger)
    assert time.monotonic() - started > sent_bits / RATE, "else the line was not slow"
    assert network.lost() > 30, "else hardly a packet was lost"
    holds(bed, daemon, 2)
    record_property("counted: packets lost between the daemon and BulkGPT", network.lost())


@pytest.mark.fault("F19")
def test_a_line_that_is_gone_for_a_while_amid_an_upload_and_amid_a_download_costs_that_while(
    bed: Bed, network: Network, daemon: Daemon, record_property: Callable[[str, int], None]
) -> None:
    network.slow()
    bed.drop("0.csv", content(0))
    wait(lambda: bed.sandbox.ledger, "it is being sent", daemon=daemon)
    with network.gone():
        time.sleep(GONE_S)
        assert not bed.sandbox.accepted
    wait(lambda: bed.sandbox.downloads, "its result is being fetched", daemon=daemon)
    with network.gone():
        time.sleep(GONE_S)
        assert bed.files("outbox").keys() == {f".{bed.job('0.csv')['job']}-0.csv.part"}
    bed.wait_ended(1, ENDS_S)
    holds(bed, daemon, 1)
    record_property("counted: times that the line to BulkGPT was gone", 2)


@pytest.mark.fault("F7", "F19")
@pytest.mark.parametrize("patience", [{"timeout": "3s"}])
def test_an_upload_whose_line_is_gone_for_too_long_is_certainly_not_accepted_and_sent_again(
    bed: Bed, network: Network, daemon: Daemon
) -> None:
    """All of it but its end fits into the buffers of our kernel, which would say nothing of the line."""
    network.slow()
    bed.drop("0.csv", content(0, ROWS_BUFFERED))
    wait(lambda: bed.sandbox.ledger, "it is being sent", daemon=daemon)
    with network.gone():
        daemon.wait_for("job.deferred", file="0.csv")
        assert bed.files("error") == {}
    [job] = bed.wait_ended(1, ENDS_S)
    assert job["state"] == "done"
    assert bed.files("outbox") == {"0.csv": answer(content(0, ROWS_BUFFERED))}
    assert len(bed.sandbox.accepted) == 1 < len(bed.sandbox.ledger)
