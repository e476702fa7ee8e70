"""What docs/install.md says of routes in other places, of people and senders, and of the end, as it is typed there."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

import bulkgpt_watchd
from bulkgpt_watchd.sandbox import answer
from tests.pages import ROOT, blocks, section
from tests.system.bed import VENDOR_CSV
from tests.system.host import CONFIG, PAGE, UNIT, Host, commands
from tests.system.machine import Machine
from tests.system.process import wait

pytestmark = pytest.mark.system


def test_routes_in_homes_and_odd_places_work_with_the_drop_in(host: Host) -> None:
    """Spaces, quotes, backslashes, % and ü: systemd reads each path as it is, and the daemon gets at it."""
    machine = host.machine
    odd, home = '/data/100% "quoted" \\back $x: ü', "/home/anna: müller/up load"
    for folder in (odd, home, "/home/bert"):
        machine.does("install", "-d", "-o", "bulkgpt-watchd", "-m", "2770", folder, f"{folder}/inbox")
    more = [{"name": name, "workflow_id": "w", "folder": folder} for name, folder in (("odd", odd), ("home", home))]
    machine.types("mv /etc/bulkgpt-watchd/api-key '/etc/bulkgpt-watchd/api: key 100%'")
    config = host.config.replace("api-key", "'api: key 100%'")
    machine.path(CONFIG).write_text(config.replace("routes:\n", f"routes:\n{as_yaml(more)}", 1))
    machine.does("systemctl", "reload", UNIT)
    wait(lambda: "3 routes (2 unavailable)" in host.show("StatusText")[0], "they cannot be used yet")
    status = machine.does("bulkgpt-watchd", "status")
    assert status.count("its unit must allow it: see `bulkgpt-watchd config systemd`") == len(more)
    failed, fix = doctors_failures(machine)
    assert set(failed) == {
        f"api key: /etc/bulkgpt-watchd/api-key, from which {UNIT} loads the key, is not there",
        "folders odd: the running daemon may only read",
        "folders home: the running daemon does not see",
        "unit: ProtectSystem=strict makes it read-only",
        "unit: ProtectHome=yes hides it",
    }
    typed = commands("## Routes in other places", 0)
    assert fix.split(" && ") == [typed[0], typed[1], typed[2], typed[3] + ".service"]
    for line in typed[:-1]:
        machine.types(line)
    failed, _ = doctors_failures(machine)
    assert set(failed) == {
        "folders odd: the running daemon may only read",
        "folders home: the running daemon does not see",
    }
    machine.types(typed[-1])
    wait(lambda: doctors_failures(machine) == ([], ""), "doctor is content")
    for name, folder in (("odd.csv", odd), ("home.csv", home)):
        host.drop(name, f"a\n{name}\n".encode(), folder)
        assert host.result(name, folder) == answer(f"a\n{name}\n".encode())
    seen = machine.does("nsenter", "--target", str(host.pid), "--mount", "ls", "-A", "/home", "/home/anna: müller")
    assert seen == "/home:\nanna: müller\n\n/home/anna: müller:\nup load", "and nothing else of the homes"
    machine.types("cp '/etc/bulkgpt-watchd/api: key 100%' /etc/bulkgpt-watchd/api-key")


def test_a_share_that_comes_and_goes_is_seen_by_the_running_service(host: Host) -> None:
    machine, share = host.machine, "/srv/bulkgpt/share"
    machine.does("mkdir", "-p", share)
    machine.path(CONFIG).write_text(host.config.replace("/srv/bulkgpt/leads", share))
    machine.does("systemctl", "restart", UNIT)
    wait(lambda: "1 unavailable" in host.show("StatusText")[0], "it waits for the share")
    pid = host.pid
    mount = f"mount -t tmpfs share {share}; install -d -o bulkgpt-watchd {share} {share}/inbox"
    machine.types(mount)
    host.drop("shared.csv", VENDOR_CSV.replace(b"24", b"25"), share)
    wait(lambda: machine.run("test", "-e", f"{share}/outbox/shared.csv").returncode == 0, "it is delivered")
    machine.types(f"umount {share}")
    wait(lambda: "1 unavailable" in host.show("StatusText")[0], "it waits again")
    machine.types(mount)
    assert host.pid == pid
    machine.path(CONFIG).write_text(host.config)
    machine.does("systemctl", "restart", UNIT)


def test_a_group_may_drop_and_read(host: Host) -> None:
    for line in commands("## Who may drop files", 0):
        host.machine.types(line)
    host.machine.types("useradd --user-group --groups leads anna")
    host.drop("of-anna.csv", b"a\n7\n", user="anna")
    host.result("of-anna.csv")

    read = host.machine.does("cat", "/srv/bulkgpt/leads/outbox/of-anna.csv", user="anna")
    assert read == answer(b"a\n7\n").decode().strip()
    assert host.machine.run("bulkgpt-watchd", "pause", user="anna").returncode != 0
    host.machine.types("usermod -aG bulkgpt-watchd anna")
    host.machine.does("bulkgpt-watchd", "scan", user="anna")
    assert "anna" in str([line for line in host.log() if line["event"] == "audit.recorded"][-1])


def start_sshd(host: Host) -> str:
    """Start OpenSSH's server with what its package brings; give the public key of somebody who wants to get in."""
    machine = host.machine
    for folder in ("pam.d", "security"):
        shutil.copytree(f"/etc/{folder}", machine.path(f"/etc/{folder}"))
    machine.types("install -D /usr/share/openssh/sshd_config -t /etc/ssh; mkdir /etc/ssh/sshd_config.d; ssh-keygen -A")
    machine.types("useradd --system --home-dir /run/sshd --shell /usr/sbin/nologin sshd; systemctl start ssh")
    machine.types("install -d /var/client; ssh-keygen -q -t ed25519 -N '' -f /var/client/key")
    return machine.does("cat", "/var/client/key.pub")


def sftp(host: Host, *lines: str) -> subprocess.CompletedProcess[str]:
    """Do these lines as the sender; the first that fails ends it."""
    options = ("-i", "/var/client/key", "-o", "StrictHostKeyChecking=accept-new", "-b", "-")
    command = ("sftp", "-q", *options, "sender@127.0.0.1")
    return host.machine.run(*command, given="".join(f"{line}\n" for line in lines))


@pytest.mark.skipif(not os.access("/usr/sbin/sshd", os.X_OK), reason="no sshd (apt install openssh-server)")
def test_a_sender_uploads_by_sftp_and_fetches_the_result(host: Host) -> None:
    """With OpenSSH's own server and client, and its configuration as Debian brings it."""
    machine, public_key = host.machine, start_sshd(host)
    for line in (*commands("## SFTP", 0), *commands("## SFTP", 1)):
        machine.types(line, given=public_key)
    (match,) = blocks(section(PAGE, "## SFTP"), "text")
    machine.path("/etc/ssh/sshd_config.d/bulkgpt-watchd.conf").write_text(match)
    for line in (*commands("## SFTP", 2), *commands("## SFTP", 3)):
        machine.types(line)
    (routes,) = blocks(section(PAGE, "## SFTP"), "yaml")
    machine.path(CONFIG).write_text(host.config.replace("routes:\n", routes, 1))
    for line in commands("## Routes in other places", 0):
        machine.types(line)

    machine.types(
        "cd /var/client; printf 'a\\n8\\n' > sent.csv; printf 'a\\n9\\n' > private.csv; chmod 600 private.csv"
    )
    put = ("put /var/client/sent.csv /inbox/sent.csv.part", "rename /inbox/sent.csv.part /inbox/sent.csv")
    assert sftp(host, *put).returncode == 0
    host.result("sent.csv", "/home/sender")
    got = sftp(host, "get /outbox/sent.csv /var/client/got.csv", "ls /")
    assert (got.returncode, got.stdout.splitlines()[-1].split()) == (0, ["/inbox", "/outbox"]), got
    assert machine.does("cat", "/var/client/got.csv") == answer(b"a\n8\n").decode().strip()
    wait(machine.path("/srv/bulkgpt/sender/archive/sent.csv").exists, "the original is in the archive")
    for refused in (
        "rm /outbox/sent.csv",
        "put /var/client/sent.csv /outbox/x.csv",
        "put /var/client/sent.csv /x.csv",
        "ls /etc",
    ):
        assert sftp(host, refused).returncode != 0, refused

    assert sftp(host, "put /var/client/private.csv /inbox/private.csv").returncode == 0
    wait(lambda: "private.csv" in machine.does("bulkgpt-watchd", "status"), "it is told")
    assert "unreadable" in machine.does("bulkgpt-watchd", "status")
    assert sftp(host, "chmod 640 /inbox/private.csv").returncode == 0
    host.result("private.csv", "/home/sender")


@pytest.fixture(scope="module")
def wheelhouse(host: Host) -> None:
    """Collect the packages as the page says, for the Python that the machine has."""
    machine, (download,) = host.machine, blocks(section(PAGE, "## The program"), "console")[1:2]
    version = machine.does("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    _, _, arguments = download.strip().removeprefix("$ python3 ").partition(" download ")
    words = [*shlex.split(arguments)[:-1], str(machine.path("/opt/wheelhouse"))]
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", f"--python-version={version}")
    subprocess.run([*pip, *words], cwd=ROOT, check=True)


@pytest.mark.usefixtures("wheelhouse")
def test_the_program_is_installed_by_pip_and_replaces_the_one_that_runs(host: Host) -> None:
    machine = host.machine
    make, _, install, link = commands("## The program", 0)
    (offline,) = commands("## The program", 2)
    machine.types("systemctl stop bulkgpt-watchd; rm -r /opt/bulkgpt-watchd")
    for line in (make, offline.replace(" wheelhouse/", " /opt/wheelhouse/"), install, link):
        machine.types(line)
    assert [*machine.path("/opt/bulkgpt-watchd/lib").glob("python3*/site-packages/bulkgpt_watchd/__init__.py")] != []
    assert machine.types("pip=/opt/bulkgpt-watchd/bin/pip; $pip check") == "No broken requirements found."
    assert machine.does("bulkgpt-watchd", "--version") == f"bulkgpt-watchd {bulkgpt_watchd.__version__}"
    machine.path(CONFIG).write_text(host.config)
    machine.types("systemctl start bulkgpt-watchd")
    host.drop("by-pip.csv", b"a\n10\n")
    assert host.result("by-pip.csv") == answer(b"a\n10\n")


@pytest.mark.usefixtures("wheelhouse")
def test_what_was_installed_can_be_upgraded_and_removed(host: Host) -> None:
    machine = host.machine
    for line in commands("## Upgrade", 0):
        machine.types(f"export PIP_NO_INDEX=1 PIP_FIND_LINKS=/opt/wheelhouse; {line}")  # there is no network
    assert host.show("ActiveState") == ["active"]
    for line in commands("## Uninstall", 0):
        machine.types(line)
    places = ("/etc", "/var/lib", "/opt", "-name", "*bulkgpt-watchd*", "-not", "-path", "/opt/*/*")
    left = machine.does("find", *places, "-not", "-path", "/etc/ssh/*")  # sshd's own set-up may serve others
    assert left.splitlines() == ["/var/lib/bulkgpt-watchd.before-upgrade"]
    assert machine.path("/srv/bulkgpt/leads/inbox").is_dir()


def doctors_failures(machine: Machine) -> tuple[list[str], str]:
    """Give what doctor says will not work, each up to the places, and the fix of the last."""
    content = json.loads(machine.run("bulkgpt-watchd", "doctor", "--json").stdout)
    failed = [one for one in content["findings"] if one["level"] == "fail"]
    return [f"{one['what']}: {one['text'].partition(': ')[0]}" for one in failed], failed[-1]["fix"] if failed else ""


def as_yaml(routes: list[dict[str, str]]) -> str:
    return "".join(f"  - {json.dumps(route, ensure_ascii=False)}\n" for route in routes)
