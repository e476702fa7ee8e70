"""The JSON Schema takes what the loader takes, and refuses what can be seen to be wrong from one value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it brings no types
from pydantic import ValidationError

from bulkgpt_watchd.cli.config import config
from bulkgpt_watchd.config import load
from bulkgpt_watchd.config.models import ConfigFile
from bulkgpt_watchd.config.schema import schema, schema_of_included
from bulkgpt_watchd.config.wording import key_paths
from tests.config.conftest import ROUTE, WriteConfig
from tests.pages import PAGES, ROOT, blocks

WHOLE = Draft202012Validator(schema())
INCLUDED = Draft202012Validator(schema_of_included())

SAMPLES = [
    (ROOT / "config.example.yaml").read_text(),
    *(block for page in PAGES.values() for block in blocks(page, "yaml") if "routes:" in block),
    ROUTE,
    "api:\nstate:\ndefaults:\nlog: {}\n" + ROUTE + "    csv:\n",
    "defaults: {settle: 0, min_free: 5, result: {mode: '640', name: '{stem}-{job}{suffix}'}, poll: {min: 1.5}}" + ROUTE,
    "api: {timeout: 30, max_upload_bytes: 20mb, proxy: 'http://u:p@h:1', download: {hosts: [a]}}" + ROUTE,
    "routes: [{name: a, workflow_id: w, inbox: /i, outbox: /o, error: /e, archive: /a, work: /w}]",
]

WRONG = [
    "api: {timout: 1s}",
    "api: {timeout: soon}",
    "api: {timeout: 0}",
    "api: {timeout: -1}",
    "api: {timeout: '30'}",
    "api: {max_upload_bytes: 5 MBit}",
    "api: {max_upload_bytes: 1.5}",
    "api: {max_concurrent_submits: 0}",
    "api: {max_outstanding: '4'}",
    "api: {base_url: ftp://h}",
    "api: {download: {hosts: []}}",
    "api: {download: {allow_http: 'yes'}}",
    "api: {ca_file: ~/ca.pem}",
    "api: []",
    "log: {level: loud}",
    "settle: 1s",
    "defaults: {folder: /x}",
    "defaults: {name: x}",
    "defaults: {match: '*.csv'}",
    "defaults: {match: [a/b]}",
    "defaults: {ready: {done_file: '{nom}.done'}}",
    "defaults: {result: {mode: 640}}",
    "defaults: {result: {name: '{name'}}",
    "defaults: {csv: {delimiter: ab}}",
    "routes: [{name: a, workflow_id: w}]",
    "routes: [{name: a, folder: /a}]",
    "routes: [{workflow_id: w, folder: /a}]",
    "routes: [{name: 'a b', workflow_id: w, folder: /a}]",
    "routes: [{name: a, workflow_id: ' w', folder: /a}]",
    "routes: [{name: a, workflow_id: 5, folder: /a}]",
    "routes: [{name: a, workflow_id: w, inbox: /a}]",
    "routes: {name: a}",
    "routes: [~]",
    "- a",
]


def test_the_schemas_are_right_themselves() -> None:
    Draft202012Validator.check_schema(schema())
    Draft202012Validator.check_schema(schema_of_included())


@pytest.mark.parametrize("text", SAMPLES)
def test_what_is_right_is_taken(text: str) -> None:
    data = yaml.safe_load(text)

    assert [error.message for error in WHOLE.iter_errors(data)] == []
    assert INCLUDED.is_valid(data["routes"])


@pytest.mark.parametrize("text", ["", "routes: []"])
def test_a_configuration_whose_routes_are_all_in_routes_d_is_taken(text: str) -> None:
    assert WHOLE.is_valid(yaml.safe_load(text))
    assert INCLUDED.is_valid(yaml.safe_load(""))


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_refused(text: str) -> None:
    assert not WHOLE.is_valid(yaml.safe_load(text))


VALUES: list[Any] = [
    *(
        None,
        True,
        0,
        1,
        -1,
        0.25,
        10**9,
        10**10,
        10**12,
        2**63,
        "",
        " ",
        "a",
        " a",
        "a ",
        "a b",
        "ä",
        "10",
        "5s",
        "5  s",
    ),
    *("1.5h", "0s", "0.0ms", "20MB", "20mb", "0B", "3XB", "auto", "off", "on", "127.0.0.1:8787", "[::1]:8787", "::1"),
    *(
        "localhost:1",
        "localhost",
        "8787",
        "640",
        "0640",
        "0999",
        "{name}",
        "{name}.done",
        "{stem}",
        "{suffix}.x",
        "{job}",
    ),
    *(
        "{stem}{suffix}",
        ".{name}",
        "{stem}.{nom}",
        "a/{name}",
        "{name} ",
        "*.csv",
        "a/b",
        "/x",
        "~/x",
        "https://h",
        "HTTPS://h",
    ),
    *(
        "https://h/?q",
        "https://h/#f",
        "ftp://h",
        "h..x y",
        "*.example.com",
        "files.example.com",
        "1.2.3.4",
        ";",
        '"',
        "ab",
    ),
    *("error", "submit", "deliver", "delete", "basic", "events", "json", "warning", "-a", "a" * 65),
    *([], ["a"], [""], [None], [5], [" a"], ["a/b"], ["*.csv", "b"], ["*.example.com"], {}, {"a": 1}),
]
"""None is beyond what a pattern can say: a date too far, a port too high, 1.0 in place of 1."""


@pytest.mark.parametrize("path", [path for path in key_paths() if path != "routes"])
def test_the_schema_judges_a_value_as_the_loader_does(path: str) -> None:
    """What needs another key, or the disk, is not asked here: http for a loopback address only is such a rule."""
    *above, last = path.replace("[]", "").split(".")
    for value in VALUES:
        data: dict[str, Any] = {"routes": [{"name": "a", "workflow_id": "w", "folder": "/a"}]}
        inside: Any = data
        for key in above:
            inside = inside["routes"][0] if key == "routes" else inside.setdefault(key, {})
        inside[last] = value
        try:
            ConfigFile.model_validate(data)
            is_right = True
        except ValidationError:
            is_right = False
        assert WHOLE.is_valid(data) is is_right, value


@pytest.mark.parametrize(
    "text", ["routes: []", "- text", "[{name: a, workflow_id: w}]", "[{name: a, folder: /a, w: 1}]"]
)
def test_a_wrong_included_file_is_refused(text: str) -> None:
    assert not INCLUDED.is_valid(yaml.safe_load(text))


def test_every_key_has_its_type_its_meaning_and_its_default() -> None:
    written = schema()

    def section(about: dict[str, Any]) -> dict[str, Any]:
        reference = about.get("$ref") or about.get("items", {}).get("$ref") or ""
        found: dict[str, Any] = written["$defs"][reference.removeprefix("#/$defs/")]
        return found

    def properties(path: str) -> dict[str, Any]:
        *above, last = path.replace("[]", "").split(".")
        inside = written
        for key in above:
            inside = section(inside["properties"][key])
        found: dict[str, Any] = inside["properties"][last]
        return found

    for path in key_paths():
        about = properties(path)
        assert about["description"], path
        assert "$ref" in about or "default" in about or path in {"routes[].name", "routes[].workflow_id"}, path
    assert properties("api.timeout")["default"] == "2m"
    assert properties("routes[].min_free")["default"] == "100MB"


def test_every_default_of_the_schema_is_one_that_the_schema_takes() -> None:
    written = schema()
    for definition in written["$defs"].values():
        for key, about in definition["properties"].items():
            if "default" in about:
                validator = Draft202012Validator({**about, "$defs": written["$defs"]})
                assert validator.is_valid(about["default"]), key


def test_the_schemas_are_printed() -> None:
    assert json.loads(CliRunner().invoke(config, ["schema"]).stdout) == schema()
    assert json.loads(CliRunner().invoke(config, ["schema", "--routes"]).stdout) == schema_of_included()


def test_the_schema_goes_with_an_editor_s_first_line(write: WriteConfig, tmp_path: Path) -> None:
    """As `config schema --help` says; for us it is a comment."""
    (tmp_path / "config.schema.json").write_text(json.dumps(schema()))
    path = write("# yaml-language-server: $schema=config.schema.json\n" + ROUTE)

    assert load(path).routes[0].name == "leads"
