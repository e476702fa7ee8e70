from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkgpt_watchd.config import Settings, check_folders
from bulkgpt_watchd.config.looking import Place, look, look_at
from tests.config.conftest import ROUTE

MistakesOf = Callable[[str | bytes], list[str]]
SettingsOf = Callable[[str], Settings]


NEVER_CREATED = "does not exist; an inbox is never created, so that an unmounted share does not look like an empty one"


def route(name: str, keys: str) -> str:
    return f"  - {{name: {name}, workflow_id: w, {keys}}}\n"


def told(mistakes_of: MistakesOf, *routes: str) -> list[str]:
    """Give the mistakes without their places."""
    return [mistake.split(": ", 1)[1] for mistake in mistakes_of("routes:\n" + "".join(routes))]


def test_two_routes_with_one_inbox_are_refused_by_real_path(mistakes_of: MistakesOf, tmp_path: Path) -> None:
    (tmp_path / "a/inbox").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")

    assert told(mistakes_of, route("a", "folder: a"), route("b", "folder: link")) == [
        "routes[b].folder: its inbox is the inbox of route a too"
    ]
    assert told(mistakes_of, route("a", "folder: a"), route("b", "folder: b, inbox: link/../a/inbox")) == [
        "routes[b].inbox: is the inbox of route a too"
    ]


def test_routes_may_share_an_outbox_an_error_and_an_archive(settings_of: SettingsOf) -> None:
    shared = "outbox: /o, error: /e, archive: /o"

    assert (
        len(settings_of("routes:\n" + route("a", f"inbox: /a, {shared}") + route("b", f"inbox: /b, {shared}")).routes)
        == 2
    )


def test_an_inbox_in_a_recursive_inbox_is_refused(mistakes_of: MistakesOf, settings_of: SettingsOf) -> None:
    inner = route("b", "folder: /b, inbox: /a/inbox/sub")

    assert told(mistakes_of, route("a", "folder: /a, recursive: true"), inner) == [
        "routes[b].inbox: lies in the inbox of route a, which is recursive"
    ]
    assert len(settings_of("routes:\n" + route("a", "folder: /a") + inner).routes) == 2


@pytest.mark.fault("S8")
@pytest.mark.parametrize("key", ["outbox", "error", "archive"])
@pytest.mark.parametrize("below", ["", "/sub/sub"])
def test_what_is_put_out_may_not_come_in_again(mistakes_of: MistakesOf, key: str, below: str) -> None:
    fault = "what is put there would be taken as a new file"

    assert told(mistakes_of, route("a", f"folder: /a, {key}: /a/inbox{below}")) == [
        f"routes[a].{key}: lies in the inbox of route a: {fault}"
    ]
    assert told(mistakes_of, route("a", f"folder: /a, {key}: /b/inbox{below}"), route("b", "folder: /b")) == [
        f"routes[a].{key}: lies in the inbox of route b: {fault}"
    ]


@pytest.mark.fault("S8")
def test_a_ring_over_several_routes_is_refused_by_real_path(mistakes_of: MistakesOf, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name / "inbox").mkdir(parents=True)
    (tmp_path / "c/outbox").symlink_to(tmp_path / "a/inbox")
    fault = "what is put there would be taken as a new file"

    assert told(
        mistakes_of,
        route("a", "folder: a, outbox: b/inbox"),
        route("b", "folder: b, outbox: c/inbox"),
        route("c", "folder: c"),
    ) == [
        f"routes[a].outbox: lies in the inbox of route b: {fault}",
        f"routes[b].outbox: lies in the inbox of route c: {fault}",
        f"routes[c].folder: its outbox lies in the inbox of route a: {fault}",
    ]


def test_a_recursive_route_may_not_put_out_above_an_inbox(mistakes_of: MistakesOf, settings_of: SettingsOf) -> None:
    """Its results keep their sub-folder, so that in/inbox/x.csv would go to /b/inbox/x.csv."""
    assert told(mistakes_of, route("a", "folder: /a, outbox: /b, recursive: true"), route("b", "folder: /b")) == [
        "routes[a].outbox: holds the inbox of route b: with `recursive: true` a result could land there"
    ]
    assert len(settings_of("routes:\n" + route("a", "folder: /a, outbox: /b") + route("b", "folder: /b")).routes) == 2


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ("work: /a/inbox", "work: lies in the inbox of route a; begin its name with a dot"),
        ("work: /a/inbox/work", "work: lies in the inbox of route a; begin its name with a dot"),
        ("work: /w, outbox: /w/out", "outbox: lies in the work folder of route a"),
        ("work: /w, error: /w", "error: lies in the work folder of route a"),
        ("work: /w, inbox: /w/in", "inbox: lies in the work folder of route a"),
    ],
)
def test_a_work_folder_is_for_claimed_files_alone(mistakes_of: MistakesOf, keys: str, mistake: str) -> None:
    assert told(mistakes_of, route("a", f"folder: /a, {keys}")) == [f"routes[a].{mistake}"]


def test_two_routes_may_not_share_a_work_folder(mistakes_of: MistakesOf) -> None:
    assert told(mistakes_of, route("a", "folder: /a, work: /w"), route("b", "folder: /b, work: /w")) == [
        "routes[b].work: is the work folder of route a too"
    ]


def test_a_hidden_work_folder_in_the_inbox_is_right(settings_of: SettingsOf) -> None:
    (loaded,) = settings_of("routes:\n" + route("a", "folder: /a, work: /a/inbox/.ours/x, recursive: true")).routes

    assert loaded.work == Path("/a/inbox/.ours/x")


def test_work_on_another_file_system_is_refused(mistakes_of: MistakesOf, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    other = Path("/proc/self")
    assert other.stat().st_dev != tmp_path.stat().st_dev

    assert told(mistakes_of, route("a", f"folder: ., work: {other}")) == [
        "routes[a].work: must be on the file system of the inbox: files are claimed by one rename"
    ]


def test_missing_folders_are_told_but_do_not_stop_the_loading(settings_of: SettingsOf, tmp_path: Path) -> None:
    (tmp_path / "b/inbox").mkdir(parents=True)
    (tmp_path / "b/error").write_text("")
    loaded = settings_of("routes:\n" + route("a", "folder: a") + route("b", "folder: b, outbox: nowhere, work: gone"))
    mistakes = [str(mistake).removeprefix(f"{tmp_path}/config.yaml:") for mistake in check_folders(loaded)]

    assert mistakes == [
        f"2:39: routes[a].folder: inbox {tmp_path}/a/inbox {NEVER_CREATED}",
        f"3:50: routes[b].outbox: outbox {tmp_path}/nowhere does not exist",
        f"3:39: routes[b].folder: error {tmp_path}/b/error is not a folder",
        f"3:65: routes[b].work: work {tmp_path}/gone does not exist",
    ]


def test_folders_that_stem_from_folder_may_be_missing(settings_of: SettingsOf, tmp_path: Path) -> None:
    (tmp_path / "a/inbox").mkdir(parents=True)

    assert check_folders(settings_of("routes:\n" + route("a", "folder: a"))) == ()


def test_a_folder_that_cannot_be_looked_at_says_why(settings_of: SettingsOf, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (mistake,) = check_folders(settings_of("routes:\n" + route("a", "folder: ., outbox: loop/x")))

    assert mistake.message.endswith("loop/x cannot be looked at: Too many levels of symbolic links")


def test_hung_shares_do_not_hold_up_the_others(tmp_path: Path) -> None:
    """A look that does not come back is given up, and after some of them no other is tried."""
    hanging, released = [Path(f"/hung/{number}/..") for number in range(9)], threading.Event()

    def looker(path: Path) -> Place:
        if path in hanging:
            released.wait(60)
        return look(path)

    try:
        places = look_at([*hanging[:2], tmp_path, tmp_path / "x", *hanging[2:], Path("/")], looker, patience_s=0.05)
    finally:
        released.set()

    assert places[tmp_path] == look(tmp_path)
    assert places[tmp_path / "x"].kind == "missing"
    assert {places[path] for path in hanging} == {Place("/hung", "hung")}
    assert places[Path("/")].kind == "hung", "too many hung: not tried"


def test_what_is_looked_at_follows_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    assert look(tmp_path / "link") == Place(str(tmp_path / "real"), "folder", tmp_path.stat().st_dev)
    assert look(tmp_path / "link/../x").real == str(tmp_path / "x")


def test_the_smallest_configuration_looks_at_folders_that_need_not_exist(settings_of: SettingsOf) -> None:
    assert len(check_folders(settings_of(ROUTE))) == 1
