"""Routes in `routes.d/*.yaml` are as those in the configuration itself, and each mistake has the file it is in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkgpt_watchd.config import ConfigInvalid, Settings, check_folders, load, locate
from bulkgpt_watchd.config.included import A_LIST, overlooked
from tests.config.conftest import ROUTE, WriteConfig

SettingsOf = Callable[[str], Settings]
MistakesOf = Callable[[str | bytes], list[str]]
Include = Callable[..., Path]


@pytest.fixture
def include(tmp_path: Path) -> Include:
    def include(name: str, content: str | bytes) -> Path:
        (tmp_path / "routes.d").mkdir(exist_ok=True)
        path = tmp_path / "routes.d" / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return include


def entry(name: str, more: str = "") -> str:
    return f"- {{name: {name}, workflow_id: w, folder: /srv/{name}{more}}}\n"


@pytest.mark.parametrize("own", [ROUTE, "routes: []", "routes:", "log: {level: debug}", ""])
def test_routes_are_included_in_the_order_of_the_names_after_those_of_the_file(
    settings_of: SettingsOf, include: Include, own: str
) -> None:
    include("20-b.yaml", entry("b"))
    include("10-z.yaml", entry("z") + entry("y"))
    include("9.yaml", entry("last"))
    loaded = settings_of(own)

    names = [route.name for route in loaded.routes]
    assert names == [*(["leads"] if own == ROUTE else []), "z", "y", "b", "last"]
    assert [path.name for path in loaded.document.included] == ["10-z.yaml", "20-b.yaml", "9.yaml"]


def test_defaults_and_the_folder_of_the_configuration_count_for_included_routes(
    settings_of: SettingsOf, include: Include, tmp_path: Path
) -> None:
    include("a.yaml", "- {name: a, workflow_id: w, folder: a, poll: {max: 5m}}")
    (route,) = settings_of("defaults: {settle: 0, poll: {min: 3s}}").routes

    assert (route.settle, route.poll.min, route.poll.max) == (0.0, 3.0, 300.0)
    assert route.inbox == tmp_path / "a/inbox"


@pytest.mark.parametrize("name", [".a.yaml", "a.yml", "a.yaml~", "a.yaml.dpkg-new", "a.json", "README", "a.YAML"])
def test_other_files_are_left_alone(settings_of: SettingsOf, include: Include, name: str) -> None:
    include(name, "}{")

    assert [route.name for route in settings_of(ROUTE).routes] == ["leads"]


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "~", "null\n", "[]", "\ufeff"])
def test_a_file_with_nothing_in_it_includes_nothing(settings_of: SettingsOf, include: Include, content: str) -> None:
    include("a.yaml", content)

    assert len(settings_of(ROUTE).routes) == 1


def test_mistakes_have_the_file_they_are_in_and_every_file_is_read(mistakes_of: MistakesOf, include: Include) -> None:
    """Wrong values, unknown keys, duplicate keys, tags, broken YAML: all files in one go, in order."""
    a = include("a.yaml", "- name: a\n  workflow_id: 5\n  folder: /srv/a\n  setle: 1s\n- {}\n")
    b = include("b.yaml", "- name: b\n  name: b\n  workflow_id: !x w\n  folder: /srv/b\n  poll: {min: 2h}\n")
    c = include("c.yaml", "- name: [\n")
    d = include("d.yaml", b"\xff")
    include("e.yaml", entry("e"))

    assert mistakes_of("api: {timeout: soon}\nlog: {level: loud}" + ROUTE.replace("workflow_id: w", "x: 1")) == [
        "1:16: api.timeout: must be a duration: write 200ms, 5s, 10m, 2h, 7d or a number of seconds",
        "2:14: log.level: must be debug, info, warning or error",
        "4:5: routes[leads].workflow_id: this key is missing",
        "5:5: routes[leads].x: unknown key",
        f"{a}:2:16: routes[a].workflow_id: must be text; put it in quotes",
        f"{a}:4:3: routes[a].setle: unknown key; did you mean 'settle'?",
        f"{a}:5:3: routes[1].name: this key is missing",
        f"{a}:5:3: routes[1].workflow_id: this key is missing",
        f"{a}:5:3: routes[1].folder: this key is missing; or give inbox, outbox, error and archive each",
        f"{b}:2:3: routes[b].name: duplicate key; the first is in line 1",
        f"{b}:3:16: routes[b].workflow_id: a tag such as !text or !!str cannot be used; quote text that begins with !",
        f"{b}:5:15: routes[b].poll.min: min (2h) must not be larger than max (1m)",
        f"{c}:2:1: a value is missing",
        f"{d}:1:1: is not UTF-8 text",
    ]


@pytest.mark.parametrize(
    ("content", "place"), [("routes:\n" + entry("a"), "1:1"), ("\n  text", "2:3"), ("5", "1:1"), ("''", "1:1")]
)
def test_a_file_that_is_no_list_is_a_mistake(
    mistakes_of: MistakesOf, include: Include, content: str, place: str
) -> None:
    path = include("a.yaml", content)

    assert mistakes_of(ROUTE) == [f"{path}:{place}: {A_LIST}"]


def test_an_item_that_is_no_route_is_a_mistake(mistakes_of: MistakesOf, include: Include) -> None:
    path = include("a.yaml", entry("a") + "- text\n")

    assert mistakes_of(ROUTE) == [
        f"{path}:2:3: routes[1]: must be a mapping, with lines such as `key: value`",
    ]


def test_names_and_inboxes_that_come_twice_name_both_places(
    mistakes_of: MistakesOf, include: Include, tmp_path: Path
) -> None:
    a = include("a.yaml", entry("a") + entry("leads") + entry("a"))
    b = include("b.yaml", "\n- {name: c, workflow_id: w, folder: /c, inbox: /srv/a/inbox, outbox: /srv/leads/inbox}\n")
    config, fed = tmp_path / "config.yaml", "what is put there would be taken as a new file"

    assert mistakes_of(ROUTE) == [
        f"{a}:2:10: routes[leads].name: is the name of the route in {config}:3 too",
        f"{a}:2:41: routes[leads].folder: its inbox is the inbox of route leads ({config}:3) too",
        f"{a}:3:10: routes[a].name: is the name of the route in line 1 too",
        f"{a}:3:37: routes[a].folder: its inbox is the inbox of route a too",
        f"{b}:2:48: routes[c].inbox: is the inbox of route a ({a}:1) too",
        f"{b}:2:70: routes[c].outbox: lies in the inbox of route leads ({config}:3): {fed}",
    ]


def test_what_cannot_be_read_is_a_mistake(mistakes_of: MistakesOf, include: Include, tmp_path: Path) -> None:
    (tmp_path / "routes.d/folder.yaml").mkdir(parents=True)
    (tmp_path / "routes.d/gone.yaml").symlink_to("nowhere")
    os.mkfifo(tmp_path / "routes.d/pipe.yaml")
    include("right.yaml", entry("a"))

    assert mistakes_of(ROUTE) == [
        f"{tmp_path}/routes.d/folder.yaml: is a folder, not a file",
        f"{tmp_path}/routes.d/gone.yaml: does not exist",
        f"{tmp_path}/routes.d/pipe.yaml: is not a regular file",
    ]


def test_a_folder_that_cannot_be_read_is_a_mistake(mistakes_of: MistakesOf, tmp_path: Path) -> None:
    (tmp_path / "routes.d").write_text("")
    assert mistakes_of(ROUTE) == [f"{tmp_path}/routes.d: is not a folder"]

    (tmp_path / "routes.d").unlink()
    (tmp_path / "routes.d").symlink_to("nowhere")
    assert mistakes_of(ROUTE) == [f"{tmp_path}/routes.d: does not exist"]


def test_a_broken_configuration_does_not_hide_a_broken_file_beside_it(
    mistakes_of: MistakesOf, include: Include
) -> None:
    path = include("a.yaml", "- [")

    assert mistakes_of("api: [") == ["1:7: a value is missing", f"{path}:1:4: a value is missing"]


def test_routes_that_are_no_list_do_not_hide_what_is_wrong_beside_them(
    mistakes_of: MistakesOf, include: Include
) -> None:
    assert mistakes_of("routes: {a: 1}") == [f"1:9: routes: {A_LIST}"]

    include("a.yaml", "[]")
    assert mistakes_of("routes: {a: 1}") == [f"1:9: routes: {A_LIST}"]

    path = include("a.yaml", "- {name: a, workflow_id: w}")
    assert mistakes_of("routes: {a: 1}") == [
        f"1:9: routes: {A_LIST}",
        f"{path}:1:3: routes[a].folder: this key is missing; or give inbox, outbox, error and archive each",
    ]


def test_without_any_route_one_mistake_says_so(mistakes_of: MistakesOf, include: Include) -> None:
    include("a.yaml", "[]")

    assert mistakes_of("") == ["1:1: routes: needs at least one route, with a name, a workflow_id and a folder"]


def test_missing_folders_are_told_in_their_file(settings_of: SettingsOf, include: Include, tmp_path: Path) -> None:
    path = include("a.yaml", "- {name: a, workflow_id: w, folder: a}")
    (mistake,) = check_folders(settings_of(""))

    assert str(mistake).startswith(f"{path}:1:37: routes[a].folder: inbox {tmp_path}/a/inbox does not exist")


def test_the_files_lie_beside_the_name_that_was_given(include: Include, tmp_path: Path) -> None:
    """A link to a configuration elsewhere does not move them."""
    include("a.yaml", entry("a"))
    (tmp_path / "real").mkdir()
    (tmp_path / "real/there.yaml").write_text(ROUTE)
    (tmp_path / "config.yaml").symlink_to("real/there.yaml")

    assert [route.name for route in load(tmp_path / "config.yaml").routes] == ["leads", "a"]
    assert [route.name for route in load(tmp_path / "real/there.yaml").routes] == ["leads"]


def test_a_wrong_route_beside_it_does_not_hide_where_the_daemon_is(write: WriteConfig, include: Include) -> None:
    include("a.yaml", "}{")

    assert locate(write("state: {path: s.db}")).state.path.name == "s.db"


@pytest.mark.parametrize("text", ["wbe: {listen: off}", "budgets: {}", "setle: 3", "on: 1", "2: 3"])
def test_an_unknown_key_that_cannot_mean_where_the_daemon_is_does_not_hide_it(write: WriteConfig, text: str) -> None:
    assert locate(write(f"{text}\nstate: {{path: s.db}}")).state.path.name == "s.db"


@pytest.mark.parametrize("text", ["stat: {path: s.db}", "contrl: {socket: s}", "path: s.db", "sockets: s"])
def test_an_unknown_key_that_may_mean_where_the_daemon_is_is_a_mistake(write: WriteConfig, text: str) -> None:
    with pytest.raises(ConfigInvalid, match="unknown key"):
        locate(write(text))


def test_who_cannot_tell_where_the_daemon_is_tells_every_mistake(write: WriteConfig, include: Include) -> None:
    path = include("a.yaml", "- [")
    for text in ("api: [", "state: {pth: x}"):
        with pytest.raises(ConfigInvalid, match=f"{path}:1:4: a value is missing"):
            locate(write(text))


def test_anchors_of_one_file_do_not_count_in_another(write: WriteConfig, include: Include) -> None:
    path = include("a.yaml", "- *a")
    with pytest.raises(ConfigInvalid) as caught:
        load(write("defaults: &a {settle: 0}" + ROUTE))

    assert str(caught.value) == f"{path}:1:3: text that begins with * must be quoted"


def test_a_file_named_with_yml_is_told_to_be_overlooked(settings_of: SettingsOf, include: Include) -> None:
    path = include("a.yml", entry("a"))
    include(".b.yml", entry("b"))

    assert overlooked(settings_of(ROUTE).document) == [path]
