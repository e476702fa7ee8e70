from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkgpt_watchd.config import ConfigInvalid, Settings, control_socket, default_path, load
from bulkgpt_watchd.config.wording import key_paths
from tests.config.conftest import ROUTE, WriteConfig

MistakesOf = Callable[[str | bytes], list[str]]
SettingsOf = Callable[[str], Settings]


def test_the_smallest_file_gives_every_default(settings_of: SettingsOf) -> None:
    loaded = settings_of(ROUTE)
    (route,) = loaded.routes

    assert loaded.api.base_url == "https://api.bulkgpt.ai"
    assert (loaded.api.timeout, loaded.api.answer_timeout, loaded.api.submit_spacing) == (120.0, 600.0, 1.0)
    assert (loaded.api.max_concurrent_submits, loaded.api.max_outstanding) == (4, 500)
    assert (loaded.api.retry.min, loaded.api.retry.max) == (5.0, 600.0)
    assert (loaded.api.download.allow_private, loaded.api.download.allow_http) == (False, False)
    assert loaded.api.download.max_bytes == 2_000_000_000
    assert loaded.state.path == Path("/var/lib/bulkgpt-watchd/state.db")
    assert (loaded.log.format, loaded.log.level) == ("auto", "info")
    assert (route.name, route.workflow_id, route.match, route.recursive) == ("leads", "w", ("*.csv",), False)
    assert (route.watch, route.scan_every, route.settle, route.empty_grace) == ("auto", 10.0, None, 300.0)
    assert (route.hold_backlog, route.ready.done_file, route.min_free) == (1000, None, 100_000_000)
    assert (route.csv.check, route.csv.delimiter, route.csv.required_columns) == ("basic", "auto", ())
    assert (route.csv.max_rows, route.duplicates, route.duplicate_window) == (100_000, "error", 43200.0)
    assert (route.poll.min, route.poll.max, route.task_timeout) == (2.0, 60.0, 604800.0)
    assert (route.on_partial, route.on_success) == ("deliver", "archive")
    assert (route.result.name, route.result.done_file, route.result.mode, route.result.group) == ("{name}", *[None] * 3)


def test_folder_stands_for_four_folders_that_can_be_given_one_by_one(settings_of: SettingsOf, tmp_path: Path) -> None:
    (route,) = settings_of(ROUTE + "    outbox: /srv/out\n    error: sub/bad\n").routes

    assert route.inbox == Path("/srv/leads/inbox")
    assert route.work == Path("/srv/leads/inbox/.bulkgpt-watchd")
    assert route.archive == Path("/srv/leads/archive")
    assert route.outbox == Path("/srv/out")
    assert route.error == tmp_path / "sub/bad", "relative to the configuration file"
    assert route.creatable == {"archive"}


def test_a_route_without_folder_may_create_nothing(settings_of: SettingsOf) -> None:
    text = "routes: [{name: a, workflow_id: w, inbox: /i, outbox: /o, error: /e, archive: /a, work: /w}]"
    (route,) = settings_of(text).routes

    assert (route.inbox, route.work, route.creatable) == (Path("/i"), Path("/w"), frozenset())


def test_what_a_route_leaves_out_is_taken_from_the_defaults_key_by_key(settings_of: SettingsOf) -> None:
    defaults = (
        "defaults: {settle: 0, match: [a], poll: {min: 3s, max: 30s}, csv: {delimiter: ';'}, result: {mode: '0640'}}\n"
    )
    plain, own = settings_of(
        defaults + ROUTE + "  - {name: b, workflow_id: w, folder: /b, match: [b, c], poll: {max: 5m}, settle: null}\n"
    ).routes

    assert (plain.settle, plain.match, plain.poll.min, plain.poll.max) == (0.0, ("a",), 3.0, 30.0)
    assert (own.settle, own.match, own.poll.min, own.poll.max) == (None, ("b", "c"), 3.0, 300.0)
    assert (own.csv.delimiter, own.result.mode) == (";", 0o640)
    assert own.csv.max_rows == 100_000


def test_a_section_with_nothing_in_it_has_its_defaults(settings_of: SettingsOf) -> None:
    assert settings_of("api:\nstate:\ndefaults:\nlog: {}\n" + ROUTE + "    csv:\n") == settings_of(ROUTE)


def test_settings_compare_by_value_and_not_by_place(settings_of: SettingsOf) -> None:
    first, moved = settings_of(ROUTE), settings_of("# a comment\n" + ROUTE)
    changed, spelled_out = settings_of(ROUTE + "    settle: 5s\n"), settings_of(ROUTE + "    poll: {min: 2s}\n")

    assert first == moved
    assert hash(first.routes) == hash(moved.routes)
    assert first.routes != changed.routes
    assert first.routes == spelled_out.routes


def test_relative_paths_do_not_depend_on_where_we_were_started(
    write: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("routes: [{name: a, workflow_id: w, folder: a}]")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert load(Path("../config.yaml")) == load(path)
    assert load(path).routes[0].inbox == tmp_path / "a/inbox"


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8080", "http://localhost", "https://[::1]:1/x/", "http://127.9.9.9"]
)
def test_a_loopback_address_opens_downloads_unless_set(settings_of: SettingsOf, address: str) -> None:
    opened = settings_of(f"api: {{base_url: '{address}'}}\n{ROUTE}").api
    half = settings_of(f"api: {{base_url: '{address}', download: {{allow_http: false}}}}\n{ROUTE}").api

    assert opened.base_url == address.rstrip("/")
    assert (opened.download.allow_private, opened.download.allow_http) == (True, True)
    assert (half.download.allow_private, half.download.allow_http) == (True, False)


def test_values_are_read_as_written(settings_of: SettingsOf) -> None:
    api = settings_of(
        "api:\n  proxy: http://user:pass@proxy:3128/\n  max_upload_bytes: 20MB\n"
        "  download: {hosts: [Files.Example.com, '*.s3.amazonaws.com', '::1']}\n" + ROUTE
    ).api

    assert api.proxy == "http://user:pass@proxy:3128"
    assert api.download.hosts == ("files.example.com", "*.s3.amazonaws.com", "::1")
    assert api.max_upload_bytes == 20_000_000
    assert "pass" not in repr(api)


def test_defaults_that_every_route_completes_are_no_mistake(settings_of: SettingsOf) -> None:
    (route,) = settings_of(f"defaults: {{poll: {{min: 7m}}}}{ROUTE}    poll: {{max: 9m}}\n").routes

    assert (route.poll.min, route.poll.max) == (420.0, 540.0)


def test_an_inline_key_needs_a_file_that_others_cannot_read(write: WriteConfig) -> None:
    path = write(f"api: {{api_key: sk-secret}}{ROUTE}")
    loaded = load(path)
    path.chmod(0o640)
    with pytest.raises(ConfigInvalid) as caught:
        load(path)
    (mistake,) = caught.value.mistakes

    assert "sk-secret" not in repr(loaded) + repr(loaded.document)
    assert (mistake.line, mistake.column, mistake.path) == (1, 16, "api.api_key")
    assert "chmod 600" in mistake.message


def test_the_environment_can_name_the_file() -> None:
    assert default_path({}) == default_path({"BULKGPT_WATCHD_CONFIG": ""}) == Path("/etc/bulkgpt-watchd/config.yaml")
    assert default_path({"BULKGPT_WATCHD_CONFIG": "x.yaml"}) == Path("x.yaml")


def test_the_control_socket_has_three_homes(settings_of: SettingsOf) -> None:
    plain, given_one = settings_of(ROUTE), settings_of(f"control: {{socket: /run/s}}{ROUTE}")

    assert control_socket(plain, {}) == Path("/var/lib/bulkgpt-watchd/control.sock")
    assert control_socket(plain, {"RUNTIME_DIRECTORY": "/run/a:/run/b"}) == Path("/run/a/control.sock")
    assert control_socket(given_one, {"RUNTIME_DIRECTORY": "/run/a"}) == Path("/run/s")


KEYS = sorted({part.removesuffix("[]") for path in key_paths() for part in path.split(".")} | {"budget", "x"})
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["auto", "5s", "/a", "/a/inbox", "{name}", "w", "1MB"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from(["api", "routes", "defaults", "state", "control", "log"]), VALUES))
def test_no_data_can_do_more_than_be_refused(write: WriteConfig, data: object) -> None:
    with suppress(ConfigInvalid):
        assert load(write(yaml.safe_dump(data))).routes
