from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bulkgpt_watchd.config import ConfigInvalid, load
from bulkgpt_watchd.config.document import read_document
from bulkgpt_watchd.config.nodes import LARGEST_FILE_BYTES, Spot
from tests.config.conftest import WriteConfig

MistakesOf = Callable[[str | bytes], list[str]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("1_000", "1_000"),
        ("true", True),
        ("False", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("0640", 640),
        ("0o640", 0o640),
        ("0xff", 255),
        ("-7", -7),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-.inf", float("-inf")),
        ('"17"', "17"),
        ("'true'", "true"),
        ("v0#Workflow#1", "v0#Workflow#1"),
        ("[a, {b: 1}]", ["a", {"b": 1}]),
        ("1" * 5000, float("inf")),
    ],
)
def test_scalars_are_those_of_yaml_1_2(write: WriteConfig, text: str, value: object) -> None:
    assert read_document(write(f"key: {text}\n")).data == {"key": value}


def test_every_key_and_value_knows_its_place(write: WriteConfig) -> None:
    document = read_document(write("api:\n  timeout: 5s\nroutes:\n  - {name: a, match: [b, c]}\n"))

    assert document.keys[("api", "timeout")] == Spot(2, 3)
    assert document.values[("api", "timeout")] == Spot(2, 12)
    assert document.values[("routes", 0, "match", 1)] == Spot(4, 26)
    assert document.spot(("routes", 0, "poll", "min")) == Spot(4, 5)
    assert document.name_of(("routes", 0, "match", 1)) == "routes[a].match[1]"


def test_a_byte_order_mark_moves_nothing(write: WriteConfig) -> None:
    document = read_document(write(b"\xef\xbb\xbfapi:\r\n  timeout: 5s\r\n"))

    assert document.values[("api", "timeout")] == Spot(2, 12)


def test_an_anchor_may_be_used_again(write: WriteConfig) -> None:
    document = read_document(write("a: &shared {min: 1s}\nb: *shared\n"))

    assert document.data == {"a": {"min": "1s"}, "b": {"min": "1s"}}
    assert document.values[("b", "min")] == document.values[("a", "min")]


LAUGHS = "a0: &a0 [b, b]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(18))
"""The "billion laughs": 19 short lines that make half a million values."""


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        ("a: 1\n\tb: 2\n", "2:1: a tab cannot stand here; indent with spaces"),
        ("a: @b\n", "1:4: text that begins with this character must be quoted"),
        ("a: b: c\n", "1:5: a key cannot stand here; check the indentation, or quote text with a colon in it"),
        ("a:\n  b: 1\n c: 2\n", "3:2: the indentation does not fit the lines above"),
        ("a: [1, 2\nb: 3\n", "2:2: a comma or a ] is missing"),
        ("a: {b: 1\nc: 3\n", "2:2: a comma or a } is missing"),
        ('x: 1\na: "open\nb: 1\n', "2:4: a quote is not closed"),
        ("a: 1\n---\nb: 1\n", "2:1: only one YAML document may be in the file"),
        ("a: *b\n", "1:4: text that begins with * must be quoted"),
        ('a: "\\w"\n', "1:6: within double quotes a \\ must be written \\\\; or use single quotes"),
        ("a: &x 1\nb: &x 2\n", "2:4: two anchors have one name; text that begins with & must be quoted"),
        ("a: - b\n", "1:4: a list cannot stand here; check the indentation"),
        ("a: [,]\n", "1:5: a value is missing"),
        ("{a: 1}\nb: 1\n", "2:1: this belongs to nothing above; check the indentation"),
        ("a: 1\nbcd\n", "2:1: a colon is missing"),
        ("match: [*.csv]\n", "1:10: text that begins with * or & must be quoted"),
        ("a: b\x07\n", "1:5: contains the control character U+0007"),
        (b"a: 1\nb: \xc3\xa4\xff\n", "2:5: is not UTF-8 text"),
        ("a: 1".encode("utf-16"), "1:1: is not UTF-8 text"),
        ('a: "\\UFFFFFFFF"\n', "1:7: is not valid YAML"),
        ("a: " + "[" * 3000, "is nested too deeply"),
        ("a: " + "[" * 30 + "]" * 30, "1:1: is nested too deeply"),
        ("a: &a [*a]\n", "1:1: is nested too deeply"),
        (LAUGHS, "1:1: has too many values (those of an anchor count wherever it is used)"),
        ("a: 1\n" + "#" * LARGEST_FILE_BYTES, "is larger than 1048576 bytes"),
    ],
)
def test_what_is_no_yaml_is_told_in_plain_words(mistakes_of: MistakesOf, content: str | bytes, mistake: str) -> None:
    (told,) = mistakes_of(content)

    assert told.endswith(mistake)


def test_what_does_not_stop_the_reading_is_told_together(mistakes_of: MistakesOf) -> None:
    text = (
        "log:\n  level: info\n  level: debug\n? [complex]\n: 1\n"
        'state: !text {}\ncontrol: {socket: "\\uD800"}\nlog: {}\n'
    )

    assert mistakes_of(text) == [
        "1:1: routes: needs at least one route, with a name, a workflow_id and a folder",
        "3:3: log.level: duplicate key; the first is in line 2",
        "4:3: a key must be plain text",
        "6:8: state: a tag such as !text or !!str cannot be used; quote text that begins with !",
        "7:19: control.socket: contains half a character (\\uD800 to \\uDFFF)",
        "8:1: log: duplicate key; the first is in line 1",
    ]


@pytest.mark.parametrize("content", ["", "\n", "# only a comment\n", "---\n", "~\n"])
def test_an_empty_file_says_what_is_missing(mistakes_of: MistakesOf, content: str) -> None:
    (told,) = mistakes_of(content)

    assert told.endswith("1: routes: needs at least one route, with a name, a workflow_id and a folder")


@pytest.mark.parametrize("content", ["text", "- 1\n", "17", "[]"])
def test_a_file_that_is_no_mapping_is_told(mistakes_of: MistakesOf, content: str) -> None:
    assert mistakes_of(content) == ["1:1: must be a mapping, with lines such as `routes:`"]


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    told = {}
    for name in ("missing", ".", "fifo", "loop", "missing/x"):
        with pytest.raises(ConfigInvalid) as caught:
            load(tmp_path / name)
        told[name] = str(caught.value).removeprefix(f"{tmp_path / name}: ")

    assert told == {
        "missing": "does not exist",
        ".": "is a folder, not a file",
        "fifo": "is not a regular file",
        "loop": "cannot be read: Too many levels of symbolic links",
        "missing/x": "does not exist",
    }


AS_NOBODY = """
import os, sys
from pathlib import Path
from bulkgpt_watchd.config import ConfigInvalid, load
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for name in sys.argv[1:]:
    try:
        load(Path(name))
    except ConfigInvalid as invalid:
        print(invalid)
"""


def test_a_file_that_may_not_be_read_says_by_whom() -> None:
    """Rights bind nobody who is root: root becomes nobody first, for whom pytest's own folders are closed."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "config.yaml").touch(0)
        (folder / "closed").mkdir(0o700 if os.geteuid() == 0 else 0)
        ran = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, folder / "config.yaml", folder / "closed/x"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
    closed, hidden = ran.stdout.splitlines()

    assert "config.yaml: cannot be read by user " in closed
    assert "its mode is 0000 and its owner is " in closed
    assert hidden.endswith("who may not enter a folder on the way to it")


PIECES = "-:[]{},'\"|>?#\\é\ufeff\x00a"
WORDS = (
    "&a",
    "*a",
    "!t",
    "routes",
    "%YAML 1.9",
    "---",
    "...",
    "\\x",
    "1e999",
    "<<",
    ": ",
    "- ",
    "\n",
    "  ",
    "\t",
    "\u2028",
)
YAML_LIKE = st.lists(st.sampled_from([*PIECES, *WORDS]), max_size=60).map("".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.text().map(str.encode), YAML_LIKE.map(str.encode), st.binary()))
@example(b"%YAML " + b"9" * 5000 + b".1\n---\na: 1\n")
@example(b"%TAG ! tag:\xff\n")
@example(b"? ? ? ? - -\n")
@example(b"!<%ff> a")
@example(b"a: |99\n b")
@example(b"\x85\xe2\x80\xa8")
def test_no_text_can_do_more_than_be_refused(write: WriteConfig, content: bytes) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(write(content))

    assert caught.value.mistakes
