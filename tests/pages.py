"""Read the documentation (its tables, code and commands), and the source that it speaks of."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
}
README = PAGES["README.md"]
BY_HAND = sorted(PAGES.keys() - {"CONTRIBUTING.md", "docs/configuration.md", "docs/metrics.md", "docs/sandbox.md"})
"""Pages for operators that are neither generated nor held to the code elsewhere."""

PACKAGE = ROOT / "bulkgpt_watchd"
MODULES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}

_PROGRAM = re.compile(r"(?:\S*/)?bulkgpt-watchd (.+)")


def table(page: str, *head: str) -> list[list[str]]:
    """Give the rows of all tables that have this head, each as its cells."""
    pattern = rf"^\| {re.escape(' | '.join(head))} \|\n\|[-|]+\n((?:\|.*\n)+)"
    found = re.findall(pattern, PAGES[page], re.MULTILINE)
    assert found, f"{page} has no table with the head {head}"
    return [[cell.strip() for cell in row[1:-1].split("|")] for rows in found for row in rows.splitlines()]


def blocks(text: str, *languages: str) -> list[str]:
    """Give the fenced blocks in one of these languages."""
    return re.findall(rf"^```(?:{'|'.join(languages)})\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def codes(text: str) -> list[str]:
    """Give what stands in backticks, on one line each; fenced blocks are left out."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def section(text: str, heading: str) -> str:
    """Give what stands below a heading, up to the next of its level."""
    level = heading.partition(" ")[0]
    return text.partition(f"\n{heading}\n")[2].partition(f"\n{level} ")[0]


def command_lines(text: str) -> Iterator[list[str]]:
    """Give the arguments of every `bulkgpt-watchd …` in prose and in console blocks."""
    typed = [line[2:] for block in blocks(text, "console") for line in block.splitlines() if line[:2] in {"$ ", "# "}]
    for line in codes(text) + typed:
        if match := _PROGRAM.fullmatch(line):
            yield shlex.split(match[1])
