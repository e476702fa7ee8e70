"""
Parse a YAML file into nodes, whose tags tell only how they were written.

Scalars are those of the YAML 1.2 core schema (`on` is text, `1:30` is text). Messages never repeat a value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bulkgpt_watchd.config.mistakes import ConfigInvalid, Mistake
from bulkgpt_watchd.config.reading import Unreadable, read_small

LARGEST_FILE_BYTES = 2**20
"""A thousand routes with every key written out are 1 MB; PyYAML takes seconds for more."""

_INT = re.compile(r"[-+]?[0-9]{1,300}|0o[0-7]{1,300}|0x[0-9a-fA-F]{1,300}")  # int() itself refuses 4,300 digits
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


_PLAIN_WORDS = (
    ("found character '\\t'", "a tab cannot stand here; indent with spaces"),
    ("that cannot start any token", "text that begins with this character must be quoted"),
    (
        "mapping values are not allowed",
        "a key cannot stand here; check the indentation, or quote text with a colon in it",
    ),
    ("could not find expected ':'", "a colon is missing"),
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("expected ',' or ']'", "a comma or a ] is missing"),
    ("expected ',' or '}'", "a comma or a } is missing"),
    ("sequence entries are not allowed", "a list cannot stand here; check the indentation"),
    ("expected the node content", "a value is missing"),
    ("expected '<document start>'", "this belongs to nothing above; check the indentation"),
    ("found unexpected end of stream", "a quote is not closed"),
    ("found unexpected document separator", "a quote is not closed"),
    ("but found another document", "only one YAML document may be in the file"),
    ("found undefined alias", "text that begins with * must be quoted"),
    ("expected alphabetic or numeric character", "text that begins with * or & must be quoted"),
    ("unknown escape character", r"within double quotes a \ must be written \\; or use single quotes"),
    ("second occurrence", "two anchors have one name; text that begins with & must be quoted"),
)
"""What PyYAML says, and what we say; its own words may repeat a value."""


def plain(text: str) -> Any:
    """Read an unquoted scalar. Source: YAML 1.2.2, 10.3.2 (core schema)."""
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _INT.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


class _Loader(yaml.SafeLoader):
    """Compose nodes whose tag tells only how they were written: `plain`, `quoted`, or a tag of the file's author."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:  # noqa: ARG002 PyYAML's signature
        if kind is yaml.ScalarNode and implicit[0]:
            return "plain"
        return "quoted"


@dataclass(frozen=True, slots=True)
class Spot:
    """Hold a line and a column, both from 1; *file* is None in the file that the document began with."""

    line: int
    column: int
    file: Path | None = None


def spot_of(mark: Any, file: Path | None = None) -> Spot:
    """Give the place of a mark of PyYAML's."""
    return Spot(mark.line + 1, mark.column + 1, file)


def parse(file: Path) -> tuple[int, yaml.Node | None]:
    """
    Read a file into nodes; give its permission bits too.

    Errors: ConfigInvalid.
    """
    try:
        small = read_small(file, LARGEST_FILE_BYTES)
    except Unreadable as unreadable:
        raise ConfigInvalid([Mistake(file, None, None, "", str(unreadable))]) from None
    try:
        text = small.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = small.content.count(b"\n", 0, error.start) + 1
        column = len(small.content[: error.start].rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        raise ConfigInvalid([Mistake(file, line, column, "", "is not UTF-8 text")]) from None
    return small.mode, _compose(file, text)


def _compose(file: Path, text: str) -> yaml.Node | None:
    """
    Parse YAML into nodes.

    Errors: ConfigInvalid.
    """
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        problem = error.problem or ""
        what = next((words for part, words in _PLAIN_WORDS if part in problem), "is not valid YAML")
        # These are noticed at the end of the file, or on the next line, but stand where they began.
        is_late = what in {"a quote is not closed", "a colon is missing"}
        mark = error.context_mark if is_late else error.problem_mark
        spot = spot_of(mark or loader.get_mark()) if loader else Spot(1, 1)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        what = f"contains the control character U+{error.character:04X}"
        spot = Spot(before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1)
    except (ValueError, OverflowError, RecursionError) as error:
        # PyYAML lets these out for "\UFFFFFFFF", %YAML with a huge number, and a thousand brackets.
        what = "is nested too deeply" if isinstance(error, RecursionError) else "is not valid YAML"
        spot = spot_of(loader.get_mark()) if loader else Spot(1, 1)
    raise ConfigInvalid([Mistake(file, spot.line, spot.column, "", what)])
