"""What docs/install.md says of routes in other places, of people and senders, and of the end, as it is typed there."""

from __future__ import annotations

import json

import pytest

from bulkgpt_watchd.sandbox import answer
from tests.pages import blocks, section
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


def test_a_home_of_sftp_works_as_it_is_set_up(host: Host) -> None:
    """The server itself is not here: the sender writes as it would have him write, with umask 027."""
    machine = host.machine
    for number in range(2):
        for line in commands("## SFTP", number):
            machine.types(line)
    (routes,) = blocks(section(PAGE, "## SFTP"), "yaml")
    machine.path(CONFIG).write_text(host.config.replace("routes:\n", routes, 1))
    for line in commands("## Routes in other places", 0):
        machine.types(line)
    script = "umask 027; cd /home/sender/inbox; cat > .new; mv .new sent.csv"
    machine.does("sh", "-ec", script, given="a\n8\n", user="sender")
    host.result("sent.csv", "/home/sender")

    result = machine.does("cat", "/home/sender/outbox/sent.csv", user="sender")
    assert result == answer(b"a\n8\n").decode().strip()
    wait(machine.path("/srv/bulkgpt/sender/archive/sent.csv").exists, "the original is in the archive")


def test_what_was_installed_can_be_removed(host: Host) -> None:
    machine = host.machine
    for line in commands("## Upgrade", 0):
        if "pip" not in line:  # no network
            machine.types(line)
    assert host.show("ActiveState") == ["active"]
    for line in commands("## Uninstall", 0):
        machine.types(line)
    left = machine.does("find", "/etc", "/var/lib", "/opt", "-name", "*bulkgpt-watchd*", "-not", "-path", "/opt/*/*")
    assert left.splitlines() == ["/var/lib/bulkgpt-watchd.before-upgrade"]
    assert machine.path("/srv/bulkgpt/leads/inbox").is_dir()


def doctors_failures(machine: Machine) -> tuple[list[str], str]:
    """Give what doctor says will not work, each up to the places, and the fix of the last."""
    content = json.loads(machine.run("bulkgpt-watchd", "doctor", "--json").stdout)
    failed = [one for one in content["findings"] if one["level"] == "fail"]
    return [f"{one['what']}: {one['text'].partition(': ')[0]}" for one in failed], failed[-1]["fix"] if failed else ""


def as_yaml(routes: list[dict[str, str]]) -> str:
    return "".join(f"  - {json.dumps(route, ensure_ascii=False)}\n" for route in routes)
