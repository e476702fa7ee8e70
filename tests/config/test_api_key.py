from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkgpt_watchd.config import ConfigInvalid, Settings, read_api_key
from tests.config.conftest import ROUTE

SettingsOf = Callable[[str], Settings]
KEY = "bk-0123456789abcdef0123456789abcdef"


def key_file(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def test_the_first_place_that_has_a_key_counts(settings_of: SettingsOf, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    key_file(tmp_path / "key", "from-file\n")
    inline = settings_of(f"api: {{api_key: from-inline}}{ROUTE}")
    both = settings_of(f"api: {{api_key_file: key, api_key: from-inline}}{ROUTE}")
    environ = {"CREDENTIALS_DIRECTORY": str(credentials), "BULKGPT_API_KEY": "from-environment"}
    without_credential = [read_api_key(both, environ), read_api_key(inline, environ), read_api_key(inline, {})]
    key_file(credentials / "bulkgpt-api-key", "from-credential")

    assert read_api_key(both, environ).value == "from-credential"
    assert [key.value for key in without_credential] == ["from-file", "from-environment", "from-inline"]
    assert [key.source for key in without_credential] == ["api_key_file", "$BULKGPT_API_KEY", "api_key"]
    assert read_api_key(both, environ).source == "$CREDENTIALS_DIRECTORY/bulkgpt-api-key"


@pytest.mark.parametrize("content", [KEY, f"{KEY}\n", f"{KEY}\r\n", f"  {KEY} \n\n"])
def test_white_space_around_a_key_is_no_part_of_it(settings_of: SettingsOf, tmp_path: Path, content: str) -> None:
    key_file(tmp_path / "key", content)

    key = read_api_key(settings_of(f"api: {{api_key_file: key}}{ROUTE}"), {})

    assert (key.value, key.warnings) == (KEY, ())
    assert KEY not in repr(key)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty; it must hold the API key"),
        (b" \n\n", "is empty; it must hold the API key"),
        (b"first-part\nsecond-part\n", "has several lines; it must hold the API key and nothing else"),
        (b"first-part second-part", "has spaces, control or non-ASCII characters in it; no API key has"),
        (b"first\x00part", "has spaces, control or non-ASCII characters in it; no API key has"),
        ("schlüssel".encode(), "has spaces, control or non-ASCII characters in it; no API key has"),
        (b"\xff\xfe", "has spaces, control or non-ASCII characters in it; no API key has"),
        (b"k" * 5000, "is larger than 4096 bytes"),
    ],
)
def test_what_cannot_be_a_key_is_refused_without_showing_it(
    settings_of: SettingsOf, tmp_path: Path, content: bytes, fault: str
) -> None:
    path = key_file(tmp_path / "key", content)

    with pytest.raises(ConfigInvalid) as caught:
        read_api_key(settings_of(f"api: {{api_key_file: key}}{ROUTE}"), {})

    assert str(caught.value) == f"{tmp_path}/config.yaml:1:21: api.api_key_file: {path} {fault}"


@pytest.mark.parametrize("key", ["", "two words", "two\nlines"])
def test_a_key_in_the_environment_is_judged_alike(settings_of: SettingsOf, key: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"\$BULKGPT_API_KEY (is empty|has)"):
        read_api_key(settings_of(ROUTE), {"BULKGPT_API_KEY": key})


def test_an_empty_inline_key_is_refused_at_its_place(settings_of: SettingsOf) -> None:
    with pytest.raises(ConfigInvalid, match=r"config\.yaml:1:16: api\.api_key: it is empty"):
        read_api_key(settings_of(f"api: {{api_key: ''}}{ROUTE}"), {})


def test_a_key_file_that_is_not_there_is_told(settings_of: SettingsOf, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name, fault in [
        ("sub/key", "does not exist"),
        ("key.txt", "does not exist"),
        ("folder", "is a folder, not a file"),
    ]:
        with pytest.raises(ConfigInvalid, match=f"api.api_key_file: {tmp_path}/{name} {fault}"):
            read_api_key(settings_of(f"api: {{api_key_file: {name}}}{ROUTE}"), {})


def test_a_key_typed_in_place_of_its_file_is_not_shown(settings_of: SettingsOf) -> None:
    with pytest.raises(ConfigInvalid, match="looks like the key itself") as caught:
        read_api_key(settings_of(f"api: {{api_key_file: {KEY}}}{ROUTE}"), {})

    assert KEY not in str(caught.value)


def test_a_broken_credential_is_told_and_not_passed_over(settings_of: SettingsOf, tmp_path: Path) -> None:
    (tmp_path / "bulkgpt-api-key").symlink_to("nowhere")

    with pytest.raises(ConfigInvalid, match="bulkgpt-api-key does not exist"):
        read_api_key(settings_of(f"api: {{api_key: {KEY}}}{ROUTE}"), {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_key_file_that_everybody_can_read_is_a_warning(settings_of: SettingsOf, tmp_path: Path) -> None:
    path = key_file(tmp_path / "key", KEY, 0o644)
    settings = settings_of(f"api: {{api_key_file: key}}{ROUTE}")

    assert read_api_key(settings, {}).warnings == (f"everybody can read the API key in {path}: chmod 600 it",)
    path.chmod(0o640)
    assert read_api_key(settings, {}).warnings == ()


def test_without_any_key_the_four_ways_are_named(settings_of: SettingsOf) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        read_api_key(settings_of(ROUTE), {"CREDENTIALS_DIRECTORY": os.devnull})

    for way in (
        "credential bulkgpt-api-key",
        "api.api_key_file",
        "BULKGPT_API_KEY",
        "api.api_key in a configuration file",
    ):
        assert way in str(caught.value)
