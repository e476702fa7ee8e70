"""`config show` gives a configuration that means the same, and no secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkgpt_watchd.config import Settings
from bulkgpt_watchd.config.document import read_document
from bulkgpt_watchd.config.effective import as_yaml, effective
from bulkgpt_watchd.config.wording import key_paths
from tests.cli.conftest import invoke
from tests.config.conftest import ROUTE, WriteConfig

SettingsOf = Callable[[str], Settings]
KEY = "sk-0123456789abcdef0123456789abcdef"
RICH = """
api:
  base_url: http://127.0.0.1:8080/
  timeout: 90
  max_upload_bytes: 1500KiB
  download: {hosts: [a.example, "*.b.example"]}
  ca_file: null
state: {path: s/state.db}
log: {level: debug}
defaults: {settle: 0, match: ["*.csv", "*.TXT"], poll: {max: 5m}, csv: {delimiter: "\\t"}}
routes:
  - {name: a, workflow_id: "1:30", folder: a, csv: {required_columns: ["Input_1", "on", "null", "ü", "1e3"]}}
  - {name: b, workflow_id: "x: #y", inbox: "b:/in", outbox: "~b/../o", error: "/e f", archive: "/a", hold_backlog: null}
""".replace("~b", "b")


def show(*arguments: str | Path, **environ: str | None) -> Result:
    return invoke("config", "show", *arguments, **environ)


@pytest.mark.parametrize("text", [ROUTE, RICH])
def test_what_is_shown_means_the_same(settings_of: SettingsOf, text: str) -> None:
    loaded = settings_of(text)
    again = settings_of("\n".join(as_yaml(effective(loaded))))

    # What `folder` stood for may be created; folders that are spelled out must exist.
    routes = tuple(route.model_copy(update={"creatable": frozenset()}) for route in loaded.routes)
    assert (again.api, again.state, again.control, again.log, again.routes) == (
        *(loaded.api, loaded.state, loaded.control, loaded.log),
        routes,
    )
    assert settings_of(json.dumps(effective(loaded))) == again


def test_every_key_is_shown(settings_of: SettingsOf) -> None:
    def keys(value: object, prefix: str = "") -> set[str]:
        if not isinstance(value, dict):
            return (
                {name for item in value if isinstance(item, dict) for name in keys(item, prefix)}
                if isinstance(value, list)
                else set()
            )
        below = [keys(inner, f"{prefix}{key}{'[]' if key == 'routes' else ''}.") for key, inner in value.items()]
        return {f"{prefix}{key}" for key in value}.union(*below)

    known = {path for path in key_paths() if not path.startswith("defaults")}
    assert keys(effective(settings_of(ROUTE))) == known - {"api.api_key", "routes[].folder"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
def test_any_text_is_written_so_that_it_is_read_as_the_same(write: WriteConfig, text: str) -> None:
    (line,) = as_yaml({"key": text})

    assert read_document(write(line)).data == {"key": text}


def test_the_files_and_where_the_key_comes_from_are_told(write: WriteConfig, tmp_path: Path) -> None:
    path = write(f"api: {{api_key: {KEY}}}{ROUTE}")
    (tmp_path / "routes.d").mkdir()
    more = tmp_path / "routes.d/more.yaml"
    more.write_text("- {name: more, workflow_id: w, folder: more}")
    shown = show(path)
    data = json.loads(show("-c", path, "--json").stdout)

    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"# {path}, {more}, with every default")
    assert "\n# API key: from api_key\napi:\n" in shown.stdout
    assert f"    inbox: {tmp_path}/more/inbox\n    outbox: {tmp_path}/more/outbox\n" in shown.stdout
    assert (data["files"], data["api_key"]) == ([str(path), str(more)], {"source": "api_key", "fault": None})
    assert [route["name"] for route in data["routes"]] == ["leads", "more"]


def test_a_key_that_is_not_there_is_told(write: WriteConfig, tmp_path: Path) -> None:
    path = write(f"api: {{api_key_file: key}}{ROUTE}")

    assert f"# API key: {tmp_path}/key does not exist\n" in show(path).stdout
    assert json.loads(show(path, "--json").stdout)["api_key"]["fault"] == f"{tmp_path}/key does not exist"
    assert "# API key: from $BULKGPT_API_KEY\n" in show(write(ROUTE), BULKGPT_API_KEY=KEY).stdout


@pytest.mark.parametrize(
    "api", [f"api_key: {KEY}", f"api_key_file: {KEY}", f"proxy: 'http://u:{KEY}@h:1'", f"proxy: 'http://{KEY}@h'"]
)
def test_no_secret_is_shown(write: WriteConfig, api: str) -> None:
    path = write(f"api: {{{api}}}{ROUTE}")

    for shown in (show(path), show(path, "--json"), show(path, BULKGPT_API_KEY=KEY)):
        assert shown.exit_code == 0
        assert KEY not in shown.output


def test_a_wrong_configuration_is_not_shown_but_its_mistakes(write: WriteConfig) -> None:
    shown = show(write("api: {timout: 1s}" + ROUTE))

    assert (shown.exit_code, shown.stdout) == (78, "")
    assert "did you mean 'timeout'?" in shown.stderr
