"""Hold docs/messages.md to the log: every event that the source can write, with its levels and facts."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.pages import MODULES, codes, table

LEVELS = {"debug", "info", "warning", "error", "critical"}
EVENT = re.compile(r"[a-z]+\.[a-z_]+")
IN_EVERY_LINE = {"route", "job", "file", "task_id"}

BY_NUMBER = {"library.logged"}
"""Events whose level is the number that a library gave."""


@dataclass
class Told:
    """Hold what is said of one event."""

    levels: set[str] = field(default_factory=set)
    facts: set[str] = field(default_factory=set)


def strings(nodes: list[ast.AST]) -> set[str]:
    found = (inner.value for node in nodes for inner in ast.walk(node) if isinstance(inner, ast.Constant))
    return {value for value in found if isinstance(value, str)}


def keys(nodes: list[ast.AST]) -> set[str]:
    """Give the keys of all dictionaries that are written in pieces of source."""
    dictionaries = (inner for node in nodes for inner in ast.walk(node) if isinstance(inner, ast.Dict))
    return strings([key for dictionary in dictionaries for key in dictionary.keys if key is not None])


def meant(expression: ast.AST, scope: ast.AST, functions: dict[str, ast.FunctionDef]) -> list[ast.AST]:
    """Give an expression with what its names stand for: functions that it calls, and values assigned in its scope."""
    names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
    found = [expression, *(functions[name] for name in names & functions.keys())]
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if names & {inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)}:
                found.append(node.value)
    return found


def of_calls(tree: ast.AST) -> Iterator[tuple[str, Told]]:
    """Yield what calls write: log("noun.verb", "level", fact=...) and get_logger().level("noun.verb", fact=...)."""
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            names = [name for name in strings([*call.args]) if EVENT.fullmatch(name)]
            called = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
            if called not in {"log", *LEVELS} or not names:
                continue
            facts = {keyword.arg for keyword in call.keywords if keyword.arg is not None}
            for spread in (keyword.value for keyword in call.keywords if keyword.arg is None):
                facts |= keys(meant(spread, function, {}))
            levels = {called}.union(*(strings(meant(argument, function, {})) for argument in call.args))
            facts = {"exception" if fact == "exc_info" else fact for fact in facts}
            yield names[0], Told(levels & LEVELS, facts - IN_EVERY_LINE)


def of_changes() -> Iterator[tuple[str, Told]]:
    """Yield what scheduler/telling.py writes of changes: a case for each event of a job, with name, level and facts."""
    functions = {node.name: node for node in MODULES["scheduler/telling.py"].body if isinstance(node, ast.FunctionDef)}
    for case in (node for node in ast.walk(functions["line"]) if isinstance(node, ast.match_case)):
        classes = [ast.unparse(node.cls)[2:] for node in ast.walk(case.pattern) if isinstance(node, ast.MatchClass)]
        scopes: list[ast.AST] = [ast.Module(case.body, [])]
        for returned in (node.value for node in ast.walk(scopes[0]) if isinstance(node, ast.Return) and node.value):
            if isinstance(returned, ast.Call):  # told by a function of its own
                scopes = [functions[ast.unparse(returned.func)]]
        for scope in scopes:
            for told in (node.value for node in ast.walk(scope) if isinstance(node, ast.Return)):
                if not isinstance(told, ast.Tuple):
                    continue
                name, level, facts = told.elts
                names = (
                    [f"job.{one.lower()}" for one in classes] if isinstance(name, ast.JoinedStr) else strings([name])
                )
                levels = strings(meant(level, scope, {})) & LEVELS
                yield from ((one, Told(levels, keys(meant(facts, scope, functions)))) for one in names)


def written() -> dict[str, Told]:
    found: dict[str, Told] = defaultdict(Told)
    calls = (told for path, tree in MODULES.items() if not path.startswith("sandbox/") for told in of_calls(tree))
    for name, told in (*calls, *of_changes()):
        found[name].levels |= told.levels
        found[name].facts |= told.facts
    return found


WRITTEN = written()
ON_PAGE = {
    codes(row[0])[0]: Told(set(row[1].split(", ")), set(codes(row[2])))
    for row in table("docs/messages.md", "event", "level", "facts", "when")
}


def test_the_page_has_every_event_and_no_other() -> None:
    assert ON_PAGE.keys() ^ WRITTEN.keys() == set()


def test_the_page_has_the_levels_of_each_event() -> None:
    told = {name: event.levels for name, event in ON_PAGE.items() if name not in BY_NUMBER}

    assert told == {name: event.levels for name, event in WRITTEN.items() if name not in BY_NUMBER}


def test_the_page_has_the_facts_of_each_event() -> None:
    assert {name: event.facts for name, event in ON_PAGE.items()} == {n: event.facts for n, event in WRITTEN.items()}


def test_an_event_that_is_new_in_the_source_is_found() -> None:
    """Each form in which an event may be written, so that none can slip past the page."""
    source = """
def tell(self, low):
    level = "warning" if low else "info"
    facts = {"free": 1}
    self.log("disk.checked", level, path=1, **facts)
    get_logger().error("disk.died", exc_info=True)
"""
    assert dict(of_calls(ast.parse(source))) == {
        "disk.checked": Told({"warning", "info"}, {"path", "free"}),
        "disk.died": Told({"error"}, {"exception"}),
    }
