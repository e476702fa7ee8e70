"""
Read YAML into plain data, and remember where everything stood.

It knows YAML and nothing of our keys. Scalars are those of the YAML 1.2 core schema (`on` is text, `1:30` is text);
duplicate keys, tags and non-text keys are mistakes; anchors may not multiply the file. Messages never repeat a value.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from bulkgpt_watchd.config.mistakes import ConfigInvalid, Mistake
from bulkgpt_watchd.config.names import is_route_name
from bulkgpt_watchd.config.reading import Unreadable, read_small
from bulkgpt_watchd.core.names import printable

LARGEST_FILE_BYTES = 2**20
"""A thousand routes with every key written out are 1 MB; PyYAML takes seconds for more."""

MOST_NODES = 100_000
"""A file of the largest size has fewer values unless anchors multiply them ("billion laughs")."""

DEEPEST = 20
"""Our deepest key lies at depth 5; Python's own recursion limit is far above."""

Key = str | int
Trail = tuple[Key, ...]
"""Where a value is in the data: mapping keys and list indexes from the top."""

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
    ("unknown escape character", r"within double quotes a \ must be written \\; or use single quotes"),
    ("second occurrence", "two anchors have one name; text that begins with & must be quoted"),
)
"""What PyYAML says, and what we say; its own words may repeat a value."""


def _plain(text: str) -> Any:
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
    """Hold a line and a column, both from 1."""

    line: int
    column: int


def _spot(mark: Any) -> Spot:
    return Spot(mark.line + 1, mark.column + 1)


@dataclass(slots=True)
class Document:
    """
    Hold the data of one file and the places of its keys and values.

    Shape: *keys* has the spot of each mapping key, *values* that of each value, both by trail; *bad* has the trails of
        what `note` told. *is_private*: its owner alone can read the file.
    """

    file: Path
    is_private: bool = False
    data: Any = field(default=None, repr=False)  # the key may be in it
    keys: dict[Trail, Spot] = field(default_factory=dict)
    values: dict[Trail, Spot] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    bad: set[Trail] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        """Give the folder of the file, spelled the same from wherever we were started."""
        return Path(os.path.realpath(self.file.parent))

    def spot(self, trail: Trail, *, of_key: bool = False) -> Spot:
        """Find the place of a value (or its key), or of the nearest thing around it that was written."""
        if of_key and trail in self.keys:
            return self.keys[trail]
        while trail and trail not in self.values:
            trail = trail[:-1]
        return self.values.get(trail, Spot(1, 1))

    def mistake(self, trail: Trail, message: str, *, of_key: bool = False) -> Mistake:
        """Make a mistake that stands at *trail*."""
        spot = self.spot(trail, of_key=of_key)
        return Mistake(self.file, spot.line, spot.column, self.name_of(trail), message)

    def note(self, trail: Trail, message: str, *, of_key: bool = False) -> None:
        """Add a mistake, unless something at *trail* or around it is known to be wrong: that is to be mended."""
        if not any(trail[:length] in self.bad for length in range(len(trail) + 1)):
            self.bad.add(trail)
            self.mistakes.append(self.mistake(trail, message, of_key=of_key))

    def is_given(self, trail: Trail) -> bool:
        """Tell whether a key was written with a value other than null."""
        return reduce(inside, trail, self.data) is not None

    def name_of(self, trail: Trail) -> str:
        """Write a trail as `routes[leads].poll.min`; an entry without a usable name shows its number from 0."""
        text = ""
        value = self.data
        for key in trail:
            value = inside(value, key)
            if isinstance(key, str):
                text += f".{printable(key)}" if text else printable(key)
            else:
                name = value.get("name") if isinstance(value, dict) else None
                text += f"[{name if is_route_name(name) else key}]"
        return text


def inside(value: Any, key: Key) -> Any:
    """Step from a value to the one below it; None where there is none."""
    if isinstance(value, list) and isinstance(key, int):
        return value[key]
    return value.get(key) if isinstance(value, dict) else None


def read_document(file: Path) -> Document:
    """
    Read one YAML file.

    Shape: what can be told although something is wrong (duplicate keys, tags) is in `mistakes` of the document.
    Errors: ConfigInvalid: the file or its YAML cannot be read at all.
    """
    try:
        small = read_small(file, LARGEST_FILE_BYTES)
    except Unreadable as unreadable:
        raise ConfigInvalid([Mistake(file, None, None, "", str(unreadable))]) from None
    document = Document(file, is_private=small.mode & 0o077 == 0)
    try:
        text = small.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = small.content.count(b"\n", 0, error.start) + 1
        column = len(small.content[: error.start].rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        raise ConfigInvalid([Mistake(file, line, column, "", "is not UTF-8 text")]) from None
    node = _compose(file, text)
    if node is not None:
        _Reader(document).read(node)
    return document


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
        # A quote that is not closed is noticed at the end of the file, but stands where it was opened.
        mark = error.context_mark if what == "a quote is not closed" else error.problem_mark
        spot = _spot(mark or loader.get_mark()) if loader else Spot(1, 1)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        what = f"contains the control character U+{error.character:04X}"
        spot = Spot(before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1)
    except (ValueError, OverflowError, RecursionError) as error:
        # PyYAML lets these out for "\UFFFFFFFF", %YAML with a huge number, and a thousand brackets.
        what = "is nested too deeply" if isinstance(error, RecursionError) else "is not valid YAML"
        spot = _spot(loader.get_mark()) if loader else Spot(1, 1)
    raise ConfigInvalid([Mistake(file, spot.line, spot.column, "", what)])


class _Reader:
    """Turn nodes into data, with a bound on how much anchors may make of it."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes_left = MOST_NODES
        self.notes: list[tuple[Trail, Spot, str]] = []

    def read(self, node: yaml.Node) -> None:
        """Fill the document."""
        document = self.document
        document.data = self._value(node, ())
        for trail, spot, message in self.notes:  # only now, because the names of routes are known
            document.mistakes.append(Mistake(document.file, spot.line, spot.column, document.name_of(trail), message))

    def _value(self, node: yaml.Node, trail: Trail) -> Any:
        self.document.values[trail] = _spot(node.start_mark)
        self.nodes_left -= 1
        if self.nodes_left < 0 or len(trail) > DEEPEST:
            too_many = "has too many values (those of an anchor count wherever it is used)"
            what = too_many if self.nodes_left < 0 else "is nested too deeply"
            raise ConfigInvalid([self.document.mistake((), what)])
        if node.tag not in {"plain", "quoted"}:
            self._note(node, trail, "a tag such as !text or !!str cannot be used; quote text that begins with !")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, trail)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*trail, index)) for index, item in enumerate(node.value)]
        if any("\ud800" <= letter <= "\udfff" for letter in node.value):
            self._note(node, trail, "contains half a character (\\uD800 to \\uDFFF)")
            return None
        return _plain(node.value) if node.tag == "plain" else node.value

    def _mapping(self, node: yaml.MappingNode, trail: Trail) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(key_node, trail, "a key must be plain text")
                continue
            key, spot = key_node.value, _spot(key_node.start_mark)
            here = (*trail, key)
            if key in data:
                self._note(key_node, here, f"duplicate key; the first is in line {self.document.keys[here].line}")
                continue
            self.document.keys[here] = spot
            data[key] = self._value(value_node, here)
        return data

    def _note(self, node: yaml.Node, trail: Trail, message: str) -> None:
        self.notes.append((trail, _spot(node.start_mark), message))
