"""Write docs/reliability.md again: promise → fault → test → figure (`python -m tests.reliability.page`)."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.reliability.evidence import EVIDENCE, OUTCOMES, ROOT

PAGE = ROOT / "docs/reliability.md"
FAULTS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("faults.yaml").read_text())

HEAD = """# What is promised, and what has shown it

Every row is a fault (F) that was put on the real program or its parts, or something that somebody may try (S); beside
it stand what holds then, the tests that show it, and what they came to in their last run. `make test` runs the quick
ones, `make test-system` the heavy ones (marked ◆). Written from those runs, not by hand: `make reliability`.
"""


def shown() -> dict[str, list[str]]:
    """Give the tests of each fault, as pytest names them, from the marks in their source."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, test in functions(ast.parse(path.read_text(encoding="utf-8"))):
            for row in marks(test):
                found[row].append(f"{path.relative_to(ROOT).as_posix()}::{name}")
    return found


def functions(
    scope: ast.Module | ast.ClassDef, prefix: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield the functions of a module and of its classes, with their names as pytest gives them."""
    for node in scope.body:
        if isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}::")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node


def marks(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Yield the rows that a test is marked with: @pytest.mark.fault("F1", "F2")."""
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault":
            yield from (ast.literal_eval(argument) for argument in decorator.args)


def page() -> str:
    """Give the text of docs/reliability.md."""
    evidence: dict[str, Any] = json.loads(EVIDENCE.read_text())
    tests = shown()
    parts = [HEAD, summary(evidence)]
    for promise, words in FAULTS["promises"].items():
        rows = [row for row, about in FAULTS["rows"].items() if about["promises"][0] == promise]
        parts.append(f"## {number(promise)}. {words}\n\n| | fault | what holds | shown by |\n|---|---|---|---|")
        parts += [line(row, tests[row], evidence) for row in rows]
        parts.append("")
    parts.append("## Not handled, or not shown\n")
    parts += [f"- **{row}** {about['fault']}: {about['not_shown']}" for row, about in missing()]
    return "\n".join(parts).rstrip() + "\n"


def number(promise: str) -> int:
    """Give the number of a promise, counted from 1 as in the README."""
    return [*FAULTS["promises"]].index(promise) + 1


def missing() -> list[tuple[str, dict[str, Any]]]:
    """Give the rows that say of themselves what is not handled or not shown."""
    return [(row, about) for row, about in FAULTS["rows"].items() if "not_shown" in about]


def summary(evidence: dict[str, Any]) -> str:
    """Give the sums of all that was counted, largest first."""
    counted: dict[str, int] = defaultdict(int)
    for came_to in evidence.values():
        for name, many in came_to.get("counted", {}).items():
            counted[name] += many
    lines = [f"| {many:,} | {name} |" for name, many in sorted(counted.items(), key=lambda item: -item[1])]
    return "\n".join(["| number | of what, in the last runs |", "|--:|---|", *lines, ""])


def line(row: str, tests: list[str], evidence: dict[str, Any]) -> str:
    """Give a row of a table: the fault, what holds, and its tests with what they came to."""
    about = FAULTS["rows"][row]
    also = [number(promise) for promise in about["promises"][1:]]
    fault = about["fault"] + (f" (also {', '.join(map(str, also))})" if also else "")
    by = "<br>".join(figure(test, evidence.get(test, {})) for test in tests)
    return f"| {row} | {fault} | {about['holds']} | {by or 'see below'} |"


def figure(test: str, came_to: dict[str, Any]) -> str:
    """Give a test with what its last run came to."""
    path, *_, name = test.split("::")
    words = name.removeprefix("test_").replace("_", " ")
    outcomes = [f"{came_to[outcome]} {outcome}" for outcome in OUTCOMES if outcome in came_to]
    counted = [f"{many:,} {what}" for what, many in came_to.get("counted", {}).items()]
    heavy = "◆ " if "heavy" in came_to else ""
    return (
        f"{heavy}[{words}](../{path}): {', '.join([*(outcomes or ['never run']), *counted])} ({came_to.get('at', '')})"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
