"""
Read YAML into plain data, and remember where everything stood. One document may be of several files.

It knows YAML and nothing of our keys. Duplicate keys, tags and non-text keys are mistakes; anchors may not multiply the
file. Messages never repeat a value.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from bulkgpt_watchd.config.mistakes import ConfigInvalid, Mistake
from bulkgpt_watchd.config.names import is_route_name
from bulkgpt_watchd.config.nodes import Spot, parse, plain, spot_of
from bulkgpt_watchd.core.names import printable

MOST_NODES = 100_000
"""A file of the largest size has fewer values unless anchors multiply them ("billion laughs")."""

DEEPEST = 20
"""Our deepest key lies at depth 5; Python's own recursion limit is far above."""

Key = str | int
Trail = tuple[Key, ...]
"""Where a value is in the data: mapping keys and list indexes from the top."""


@dataclass(slots=True)
class Document:
    """
    Hold the data of a file, and of those included in it, with the places of all keys and values.

    Shape: *keys* has the spot of each mapping key, *values* that of each value, both by trail; *bad* has the trails of
        what `note` told. *is_private*: its owner alone can read the file. *included*: the other files, in their order.
    """

    file: Path
    is_private: bool = False
    data: Any = field(default=None, repr=False)  # the key may be in it
    keys: dict[Trail, Spot] = field(default_factory=dict)
    values: dict[Trail, Spot] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    bad: set[Trail] = field(default_factory=set)
    included: list[Path] = field(default_factory=list)

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
        return Mistake(spot.file or self.file, spot.line, spot.column, self.name_of(trail), message)

    def note(self, trail: Trail, message: str, *, of_key: bool = False) -> None:
        """Add a mistake, unless something at *trail* or around it is known to be wrong: that is to be mended."""
        if not any(trail[:length] in self.bad for length in range(len(trail) + 1)):
            self.bad.add(trail)
            self.mistakes.append(self.mistake(trail, message, of_key=of_key))

    def elsewhere(self, trail: Trail, seen_from: Trail) -> str:
        """Say where another thing was written: `line 3`, or `FILE:3` where that is another file."""
        spot = self.spot(trail)
        if spot.file == self.spot(seen_from).file:
            return f"line {spot.line}"
        return f"{printable(str(spot.file or self.file))}:{spot.line}"

    def is_given(self, trail: Trail) -> bool:
        """Tell whether a key was written with a value other than null."""
        return reduce(inside, trail, self.data) is not None

    def name_of(self, trail: Trail) -> str:
        """Write a trail as `routes[leads].poll.min`; an entry without a usable name shows its number from 0."""
        text = ""
        value = self.data
        for depth, key in enumerate(trail):
            value = inside(value, key)
            if isinstance(key, str):
                text += f".{printable(key)}" if text else printable(key)
            else:
                name = value.get("name") if isinstance(value, dict) else None
                text += f"[{name if is_route_name(name) else self._number(trail[:depth], key)}]"
        return text

    def _number(self, around: Trail, index: int) -> int:
        """Give the number that an item of a list has in its own file."""
        file = self.spot((*around, index)).file
        return sum(self.spot((*around, before)).file == file for before in range(index))


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
    mode, node = parse(file)
    document = Document(file, is_private=mode & 0o077 == 0)
    if node is not None:
        reader = _Reader(document)
        document.data = reader.value(node, ())
        reader.tell()
    return document


def include_list(document: Document, file: Path, key: str, what: str) -> None:
    """
    Append the list that another file is to the one that stands at *key*.

    Shape: *what* says what the file must be. A file with nothing in it is an empty list.
    Errors: ConfigInvalid: the file or its YAML cannot be read at all, or it is no list.
    """
    _, node = parse(file)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == "plain" and plain(node.value) is None):
        return
    spot = spot_of(node.start_mark)
    if not isinstance(node, yaml.SequenceNode):
        raise ConfigInvalid([Mistake(file, spot.line, spot.column, "", what)])
    items: list[Any] = document.data[key]
    reader, first = _Reader(document, file), len(items)
    items += [reader.value(item, (key, first + index)) for index, item in enumerate(node.value)]
    reader.tell()


class _Reader:
    """Turn nodes into data, with a bound on how much anchors may make of it."""

    def __init__(self, document: Document, file: Path | None = None) -> None:
        self.document = document
        self.file = file
        self.nodes_left = MOST_NODES
        self.notes: list[tuple[Trail, Spot, str]] = []

    def tell(self) -> None:
        """Add what was noted to the document, once its data are in place: they have the names of the routes."""
        document, file = self.document, self.file or self.document.file
        for trail, spot, message in self.notes:
            document.mistakes.append(Mistake(file, spot.line, spot.column, document.name_of(trail), message))

    def value(self, node: yaml.Node, trail: Trail) -> Any:
        """Give the data of a node that stands at *trail*."""
        self.document.values[trail] = spot_of(node.start_mark, self.file)
        self.nodes_left -= 1
        if self.nodes_left < 0 or len(trail) > DEEPEST:
            too_many = "has too many values (those of an anchor count wherever it is used)"
            what = too_many if self.nodes_left < 0 else "is nested too deeply"
            raise ConfigInvalid([Mistake(self.file or self.document.file, 1, 1, "", what)])
        if node.tag not in {"plain", "quoted"}:
            self._note(node, trail, "a tag such as !text or !!str cannot be used; quote text that begins with !")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, trail)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*trail, index)) for index, item in enumerate(node.value)]
        if any("\ud800" <= letter <= "\udfff" for letter in node.value):
            self._note(node, trail, "contains half a character (\\uD800 to \\uDFFF)")
            return None
        return plain(node.value) if node.tag == "plain" else node.value

    def _mapping(self, node: yaml.MappingNode, trail: Trail) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(key_node, trail, "a key must be plain text")
                continue
            key, spot = key_node.value, spot_of(key_node.start_mark, self.file)
            here = (*trail, key)
            if key in data:
                self._note(key_node, here, f"duplicate key; the first is in line {self.document.keys[here].line}")
                continue
            self.document.keys[here] = spot
            data[key] = self.value(value_node, here)
        return data

    def _note(self, node: yaml.Node, trail: Trail, message: str) -> None:
        self.notes.append((trail, spot_of(node.start_mark), message))
