"""Links to where no result comes from: this machine, its network, its files, where a name leads later."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.adapters.loopback import Exchange, Loopback
from tests.system.bed import Bed
from tests.system.bulk import in_thread
from tests.system.hostile import Hostile, saw_key, served
from tests.system.namespace import PUBLIC, NameServer, network, why_not, within
from tests.system.process import wait

Record = Callable[[str, object], None]

PORT = 8080

INSIDE = {
    "this machine": ("http://127.0.0.1:PORT/r", "127.0.0.1: it is a private or local address"),
    "in one number": ("http://2130706433:PORT/r", "2130706433: the address is not a URL"),
    "in hexadecimal": ("http://0x7f.1:PORT/r", "private or local address"),
    "in short": ("http://127.1:PORT/r", "127.1: the address is not a URL"),
    "by name": ("http://localhost:PORT/r", "localhost: it leads to a private or local address"),
    "any address": ("http://0.0.0.0:PORT/r", "0.0.0.0: it is a private or local address"),
    "IPv6": ("http://[::1]:PORT/r", "::1: it is a private or local address"),
    "IPv4 in IPv6": ("http://[::ffff:127.0.0.1]:PORT/r", "private or local address"),
    "the metadata service": ("http://169.254.169.254/latest/meta-data/iam", "private or local address"),
    "the network": ("http://10.0.0.1/r", "10.0.0.1: it is a private or local address"),
    "a file": ("file:///etc/passwd", "not an https URL"),
    "gopher": ("gopher://127.0.0.1:PORT/_x", "not an https URL"),
    "no scheme": ("//127.0.0.1:PORT/r", "not an https URL"),
    "a user": ("http://api.bulkgpt.ai@127.0.0.1:PORT/r", "127.0.0.1: the result link holds a user name"),
    "a backslash": (r"http://example.com\@127.0.0.1:PORT/r", "not a URL"),
    "a line break": ("http://127.0.0.1:PORT/r\r\nx-api-key: x", "gives no link"),
    "a megabyte": ("http://127.0.0.1:PORT/" + "r" * 900_000, "gives no link"),
}
"""Links, PORT being one where somebody of this machine listens, and what is told of them."""


@pytest.fixture
def bed(world: Hostile, bed: Bed) -> Bed:
    bed.api |= {"base_url": world.api.url, "timeout": "1s", "answer_timeout": "2s"}
    bed.api["retry"] = {"min": "50ms", "max": "200ms"}
    return bed


async def trust(exchange: Exchange) -> None:
    """Be a service that trusts whoever can reach it."""
    await exchange.read()
    await exchange.reply(200, b"a,Output_1\n1,the secret of this machine\n")


@pytest.mark.fault("S16")
def test_no_link_leads_to_this_machine_or_its_files(bed: Bed, world: Hostile, record_property: Record) -> None:
    bed.api["download"] = {"allow_private": False, "allow_http": True}
    with served(trust) as inside:
        routes = {f"r{number}": link for number, link in enumerate(INSIDE.values())}
        for route, (link, _) in routes.items():
            world.links[route] = link.replace("PORT", str(inside.port))
            bed.route(route, task_timeout="1s")
            bed.drop("a.csv", b"a\n%s\n" % route.encode(), route)
        bed.start()
        jobs = {job["route"]: job for job in bed.wait_ended(len(routes))}
        assert {job["code"] for job in jobs.values()} == {"result_unavailable"}
        told = {route: jobs[route]["message"] for route in routes}
        assert {told[route]: words for route, (_, words) in routes.items() if words not in told[route]} == {}
        for route in routes:
            assert "redeliver" in bed.error("a.csv", route)["what_to_do"]
            assert bed.files("outbox", route) == {}
        assert inside.connections == 0
    assert world.paid == dict.fromkeys(routes, 1)
    record_property("counted: links to this machine that were refused", len(routes))


AWAY = {
    "to another host": ("http://127.0.0.1:PORT/r", "127.0.0.1: not among the hosts"),
    "to a file": ("file:///etc/passwd", "not an https URL"),
    "to a user": ("http://a:b@127.0.0.2/r", "holds a user name"),
    "to itself": ("", "more than 3 redirects"),
    "to nowhere": ("http://[::1", "not a URL"),
}


@pytest.mark.fault("S16", "S18")
def test_a_redirect_of_a_download_is_judged_like_a_link(bed: Bed, world: Hostile) -> None:
    bed.api["download"] = {"hosts": ["127.0.0.2"]}
    with served(trust) as inside:
        routes = {f"r{number}": away for number, away in enumerate(AWAY.values())}
        for route, (target, _) in routes.items():
            location = {"Location": target.replace("PORT", str(inside.port))}
            world.fetches[route] = partial(Exchange.reply, status=302, headers=location)
            bed.route(route, task_timeout="1s")
            bed.drop("a.csv", b"a\n%s\n" % route.encode(), route)
        bed.start()
        jobs = {job["route"]: job for job in bed.wait_ended(len(routes))}
        for route, (_, words) in routes.items():
            assert jobs[route]["code"] == "result_unavailable"
            assert words in jobs[route]["message"]
        assert inside.connections == 0


NAMES = {
    "good.test": [[PUBLIC]],
    "inside.test": [["127.0.0.1"]],
    "turns.test": [[PUBLIC], ["127.0.0.1"]],
    "both.test": [["127.0.0.1", PUBLIC]],
    "mapped.test": [["0.0.0.0"]],  # an answer of a name server, nobody binds to it
}
LINKS = {
    "good": "http://good.test:8080/result",
    "inside": "http://inside.test:8080/",
    "turns": "http://turns.test:8080/busy",
    "both": "http://both.test:8081/",
    "mapped": "http://mapped.test:8080/",
    "away": "http://good.test:8080/away",
}
REFUSED = "it leads to a private or local address"


@pytest.mark.fault("S16", "S17")
@pytest.mark.system
@pytest.mark.timeout(180)  # a name's answer is kept for ten seconds by the client, whatever its TTL
@pytest.mark.parametrize("is_allowed", [False, True])
def test_a_name_that_is_bound_anew_leads_to_nobody_inside(bed: Bed, world: Hostile, is_allowed: bool) -> None:
    """A name server and a network of its own; where private addresses are allowed, the bed sees all of it leak."""
    if reason := why_not():
        pytest.skip(reason)

    async def be_public(exchange: Exchange) -> None:
        path = exchange.request_line.split()[1]
        if path == "/busy":
            await exchange.reply(503, headers={"Connection": "close"})
            exchange.close()
        elif path == "/away":
            await exchange.reply(302, headers={"Location": "http://inside.test:8080/"})
        else:
            await exchange.reply(200, b"a,Output_1\ngood,1\n")

    names = NameServer(NAMES)
    with (
        network(bed.folder) as pid,
        in_thread(within(pid, names.open)),
        in_thread(within(pid, lambda: Loopback(be_public, host=PUBLIC, port=PORT))) as (public, _),
        in_thread(within(pid, lambda: Loopback(trust, port=PORT))) as (inside, _),
        in_thread(within(pid, lambda: Loopback(trust, port=PORT + 1))) as (inside_too, _),
        in_thread(within(pid, lambda: Loopback(world.be_api))) as (api, _),
    ):
        bed.api["base_url"] = api.url
        bed.api["download"] = {"allow_private": is_allowed, "allow_http": True}
        for name, link in LINKS.items():
            world.links[name] = link
            bed.route(name, task_timeout="14s" if name == "turns" else "2s")
            bed.drop("a.csv", b"a\n%s\n" % name.encode(), name)
        daemon = bed.start(before=("nsenter", "-t", str(pid), "-n", "-m"))
        wait(lambda: daemon.ends() == len(LINKS), "all end", 60, daemon)
        jobs = {job["route"]: job for job in bed.jobs()}
        daemon.stop()
        assert jobs["good"]["code"] is None
        assert names.asked["turns.test"] >= 2
        assert saw_key(public) == saw_key(inside) == saw_key(inside_too) == []
        if is_allowed:
            assert {job["code"] for job in jobs.values()} == {None}
            assert len(inside.exchanges) == 4
            assert len(inside_too.exchanges) == 1
        else:
            assert {name for name, job in jobs.items() if job["code"] == "result_unavailable"} == {*LINKS} - {"good"}
            for name in ("inside", "turns", "mapped", "away"):
                assert REFUSED in jobs[name]["message"], name
            assert inside.connections == inside_too.connections == 0
