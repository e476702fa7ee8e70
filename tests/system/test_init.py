"""What `init` makes and prints is typed word for word, and takes a file there and back."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT
from tests.system.bed import KEY, VENDOR_CSV, Bed
from tests.system.process import SOON_S, wait


def installed(folder: Path) -> Path:
    """Write the command as an installation does."""
    folder.mkdir()
    program = folder / "bulkgpt-watchd"
    program.write_text(f"#!{sys.executable}\nfrom bulkgpt_watchd.cli import main\nmain()\n")
    program.chmod(0o755)
    return program


HURRY = "defaults: {settle: 0, scan_every: 200ms, poll: {min: 50ms, max: 300ms}}\n"


@pytest.mark.parametrize(("is_on_path", "is_key_given"), [(True, True), (False, False)])
def test_the_printed_commands_run_against_the_sandbox(bed: Bed, is_on_path: bool, is_key_given: bool) -> None:
    program = installed(bed.folder / "bin")
    place = bed.folder / "my place"
    environ = {"HOME": str(bed.folder), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    environ |= {"PATH": f"{program.parent}:/usr/bin:/bin"} if is_on_path else {}

    def typed(command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", command],
            input=given,
            env=environ,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=SOON_S,
        )

    options = f"--workflow-id any --base-url {bed.sandbox.base_url} {'--key-stdin' if is_key_given else ''}"
    made = typed(f"{program} init {shlex.quote(str(place))} {options}", KEY if is_key_given else "")
    assert (made.returncode, made.stderr) == (0, "")
    assert KEY not in made.stdout
    put_key = [line.strip() for line in made.stdout.splitlines() if "umask" in line]
    check, run, look = map(str.strip, made.stdout.split("\nNext: ")[1].splitlines()[1:])
    assert check.startswith("bulkgpt-watchd -c" if is_on_path else f"{program} -c")
    assert len(put_key) == (not is_key_given)
    for command in put_key:
        typed(command, f"{KEY}\n")

    checked = typed(check)
    assert (checked.returncode, checked.stdout) == (0, f"{place}/config.yaml: ok, 1 route\n")
    with open(place / "config.yaml", "a", encoding="utf-8") as config:
        config.write(HURRY)
    with open(bed.folder / "log", "wb") as log:
        daemon = subprocess.Popen(["sh", "-c", f"exec {run}"], env=environ, cwd="/", stderr=log)
    try:
        wait(lambda: b"daemon.ready" in (bed.folder / "log").read_bytes(), "it is ready")
        (place / "leads/inbox/orders.csv").write_bytes(VENDOR_CSV)
        assert "gate open" in typed(look).stdout
        wait((place / "leads/outbox/orders.csv").exists, "the result comes", within_s=2 * SOON_S)
        wait((place / "leads/archive/orders.csv").exists, "the original is archived")
    finally:
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(SOON_S) == 0
    assert os.stat(place / "api-key").st_mode & 0o777 == 0o600
    assert len(bed.sandbox.accepted) == 1
    (place / "api-key").unlink()  # so that the bed finds the key nowhere
