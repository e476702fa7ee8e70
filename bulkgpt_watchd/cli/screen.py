"""
Show lines and tables: coloured and fitted on a terminal, whole and plain anywhere else.

Shape: a screen is a list of blocks. Texts are shown as they are: names have gone through `core.names.printable`, and
nothing in them is markup.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:  # not at run time: what goes into a pipe needs no rich
    from rich.console import Console, RenderableType
    from rich.text import Text

GAP = "  "


@dataclass(frozen=True, slots=True)
class Words:
    """Hold a line, or a cell of a table, and its style in rich's words."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """
    Hold a column's title.

    Shape: *is_long* ones are folded where the terminal is narrow, others never.
    """

    title: str
    is_number: bool = False
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Hold rows of cells under titles."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Words | str]]
    indent: str = ""


Block = Words | str | Table


def is_terminal() -> bool:
    """Tell whether a person sees stdout on a terminal that can do more than print."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def show(blocks: Iterable[Block]) -> None:
    """Print a screen."""
    if not is_terminal():
        for block in blocks:
            for line in plain(block):
                click.echo(line)
        return
    console = new_console()
    for block in blocks:
        # What is no table is left to the terminal to wrap, so that a copied line is whole.
        console.print(_rich(block), soft_wrap=not isinstance(block, Table))


def plain(block: Block) -> list[str]:
    """Write a block as lines, each value whole."""
    if not isinstance(block, Table):
        return [_text(block)]
    rows = [[column.title for column in block.columns], *([_text(cell) for cell in row] for row in block.rows)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        block.indent
        + GAP.join(
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(row, widths, block.columns, strict=True)
        ).rstrip()
        for row in rows
    ]


def new_console() -> Console:
    """Give rich's console; it knows of NO_COLOR and of the terminal's width."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def rendered(blocks: Iterable[Block]) -> RenderableType:
    """Give a whole screen to rich, for one that is drawn again and again."""
    from rich.console import Group

    return Group(*map(_rich, blocks))


def _rich(block: Block) -> RenderableType:
    if not isinstance(block, Table):
        return _rich_text(block)
    from rich.padding import Padding
    from rich.table import Table as RichTable

    table = RichTable(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0), header_style="bold")
    for column in block.columns:
        justify = "right" if column.is_number else "left"
        table.add_column(column.title, justify=justify, no_wrap=not column.is_long, overflow="fold")  # type: ignore[arg-type]  # a choice of two words
    for row in block.rows:
        table.add_row(*map(_rich_text, row))
    return Padding.indent(table, len(block.indent))


def _rich_text(words: Words | str) -> Text:
    from rich.text import Text

    return Text(words) if isinstance(words, str) else Text(words.text, style=words.style)


def _text(words: Words | str) -> str:
    return words if isinstance(words, str) else words.text
