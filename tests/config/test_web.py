"""Where HTTP is served, and the token: an address that others reach needs one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bulkgpt_watchd.config import Address, ConfigInvalid, Settings, address_of, read_token
from tests.config.conftest import ROUTE

TOKEN = "0123456789abcdef"

SettingsOf = Callable[[str], Settings]
MistakesOf = Callable[[str], list[str]]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", Address("127.0.0.1", 8787, is_loopback=True)),
        ("web: {listen: 127.0.0.1:9000}", Address("127.0.0.1", 9000, is_loopback=True)),
        ("web: {listen: 127.1.2.3:9000}", Address("127.1.2.3", 9000, is_loopback=True)),
        ("web: {listen: localhost:80}", Address("127.0.0.1", 80, is_loopback=True)),
        ('web: {listen: "[::1]:8787"}', Address("::1", 8787, is_loopback=True)),
        ("web: {listen: 127.0.0.1:0}", Address("127.0.0.1", 0, is_loopback=True)),
        ("web: {listen: 0.0.0.0:8787, token_file: token}", Address("0.0.0.0", 8787, is_loopback=False)),
        ('web: {listen: "[::]:8787", token_file: token}', Address("::", 8787, is_loopback=False)),
        ("web: {listen: 192.168.7.9:8787, token_file: token}", Address("192.168.7.9", 8787, is_loopback=False)),
        ("web: {listen: off}", None),
    ],
)
def test_an_address_is_read(settings_of: SettingsOf, tmp_path: Path, text: str, address: Address | None) -> None:
    (tmp_path / "token").write_text(TOKEN)

    assert address_of(settings_of(text + ROUTE).web.listen) == address


@pytest.mark.parametrize(
    "value",
    [
        *("8787", "127.0.0.1", "127.0.0.1:99999", "999.0.0.1:80", "true", "'*:8787'", "':8787'", "[a]", "'::1:8787'"),
        *("example.com:8787", "http://127.0.0.1:8787", "'127.0.0.1:8787\n'", "'127.0.0.1:٣'", "'[::1]'", "'[zz]:80'"),
    ],
)
def test_what_is_no_address_is_told_where_it_stands(mistakes_of: MistakesOf, value: str) -> None:
    assert mistakes_of(f"web:\n  listen: {value}\n{ROUTE}") == [
        '2:11: web.listen: must be an address and a port, such as 127.0.0.1:8787 or "[::1]:8787", or off'
    ]


@pytest.mark.parametrize("value", ["0.0.0.0:8787", "192.168.7.9:8787", '"[::]:8787"', '"[::ffff:10.0.0.1]:1"'])
def test_an_address_that_others_reach_needs_a_token(mistakes_of: MistakesOf, value: str) -> None:
    (mistake,) = mistakes_of(f"web:\n  listen: {value}\n{ROUTE}")

    assert mistake.startswith("2:11: web.listen: others can reach this address, so token_file must name a token")


def test_the_token_is_read_without_its_line_end(settings_of: SettingsOf, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "token").chmod(0o600)
    settings = settings_of("web: {token_file: token}" + ROUTE)
    token = read_token(settings.document, settings.web)

    assert token is not None
    assert (token.value, token.warnings) == (TOKEN, ())
    assert TOKEN not in repr(token)


@pytest.mark.parametrize(("mode", "is_warned"), [(0o600, False), (0o640, False), (0o604, True), (0o644, True)])
def test_a_token_that_everybody_can_read_is_a_warning(
    settings_of: SettingsOf, tmp_path: Path, mode: int, is_warned: bool
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(mode)
    settings = settings_of("web: {token_file: token}" + ROUTE)
    token = read_token(settings.document, settings.web)

    assert token is not None
    assert ["chmod 600 it" in warning for warning in token.warnings] == [True] * is_warned


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "does not exist"),
        (b"", "must hold one line"),
        (b"\n", "must hold one line"),
        (b"0123456789abcde", "fewer than 16 characters"),
        (b"0123456789 abcdef", "must hold one line"),
        (b"0123456789abcdef\n0123456789abcdef\n", "must hold one line"),
        ("0123456789abcdeü".encode(), "must hold one line"),
        (b"\xff" * 20, "must hold one line"),
        (b"x" * 5000, "is larger than 4096 bytes"),
    ],
)
def test_a_token_that_cannot_be_one_is_told(
    mistakes_of: MistakesOf, tmp_path: Path, content: bytes | None, told: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    (mistake,) = mistakes_of(f"web: {{token_file: token}}{ROUTE}")

    assert mistake.startswith("1:19: web.token_file: ")
    assert told in mistake
    assert "0123456789" not in mistake


def test_both_mistakes_are_told_at_once(mistakes_of: MistakesOf) -> None:
    mistakes = mistakes_of(f"web: {{listen: 0.0.0.0:80, token_file: nope}}\nlog: {{level: loud}}{ROUTE}")

    assert [mistake.split(": ")[1] for mistake in mistakes] == ["web.token_file", "log.level"]


def test_a_token_that_went_away_since_is_told(settings_of: SettingsOf, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    settings = settings_of("web: {token_file: token}" + ROUTE)
    (tmp_path / "token").unlink()

    with pytest.raises(ConfigInvalid, match="does not exist"):
        read_token(settings.document, settings.web)
