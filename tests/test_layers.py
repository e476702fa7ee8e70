"""
Hold the package to its layers by reading every module's syntax tree.

The rules are the tables below, each entry with its reason; `faults` applies them to any set of modules,
so that bad samples show that each rule can fail.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = "bulkgpt_watchd"
ROOT = Path(__file__).parents[1] / PACKAGE

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"__main__"}),
    frozenset({"cli"}),
    frozenset({"service"}),
    frozenset({"scheduler"}),
    frozenset({"effects"}),
    frozenset({"config", "web", "adapters"}),
    frozenset({"core"}),
)
"""From the top down. A room imports itself and lower rooms, so that each can be read knowing only those below it."""

APART = {"sandbox": "it stands for BulkGPT: what it shared with us would agree with our own mistakes"}
"""Rooms that import nothing of ours, and that only the command line imports."""

NOT_IN_CORE = {
    **dict.fromkeys(("os", "io", "shutil", "tempfile", "glob", "fcntl", "mmap"), "core touches no disk"),
    **dict.fromkeys(("socket", "ssl", "http", "urllib", "select", "selectors"), "core touches no network"),
    **dict.fromkeys(
        ("asyncio", "threading", "concurrent", "multiprocessing", "subprocess", "signal"), "core never waits"
    ),
    **dict.fromkeys(("random", "secrets", "uuid"), "chance comes in as an argument"),
    **dict.fromkeys(("logging", "warnings"), "core returns facts; its callers tell them"),
    "time": "time comes in as an argument",
    "sqlite3": "core is stored; it does not store",
}

ONLY_IN = {
    "time": (("adapters/clock", "cli", "sandbox"), "tests move the clock by hand; the sandbox and the demo are real"),
    "sqlite3": (("adapters/sqlite",), "the store can be exchanged"),
}
"""Modules of the standard library that have one home."""

NOW = frozenset({"now", "utcnow", "today"})
"""What asks a `datetime` or `date` for the time."""

TOUCHES_FILES = {
    "adapters/folders": "the one place that may harm a user's file",
    "adapters/sqlite": "the state file, its lock and its backups",
    "cli": "a person named the file: init, submit, demo, state backup",
    "config": "reads the configuration and the key file",
    "sandbox": "its own results",
    "service": "the control socket",
    "web": "reads its own page",
}
"""Who may name files, and why."""

FILE_CALL = re.compile(
    r"""(?x) open | shutil\.\w+
    | os\.( open | f?truncate | f?chmod | f?chown | rename s? | replace | link | symlink | unlink | remove (dirs)?
           | rmdir | mkdir | makedirs | mkfifo | utime | scandir | listdir | walk )
    | ( .*\b )? \w* [Pp]ath ( \(.*\) )? \.
      ( open | read_text | read_bytes | write_text | write_bytes | unlink | rename | rmdir | mkdir | touch | iterdir
      | r?glob | symlink_to | hardlink_to | is_file | is_dir | exists | stat )"""
)
"""
What touches files, as it is written in a call.

`replace` of a `Path` is left out, since strings and dataclasses have it too.
"""

MAX_LINES = 300
"""A file that passes it is asking to be two."""

SAYS_NOTHING = frozenset({"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"})


def room_of(path: str) -> str:
    """Name the first folder, or the module itself: `core/job.py` → core, `service.py` → service, `__init__.py` → ''."""
    first = path.split("/", maxsplit=1)[0].removesuffix(".py")
    return "" if first == "__init__" else first


def thing_of(path: str) -> str:
    """Name the outside thing of an adapter: `adapters/folders_mounts.py` and `adapters/folders/move.py` → folders."""
    return path.split("/")[1].removesuffix(".py").split("_")[0]


def dotted_name(path: str) -> str:
    """Name a module as an import does: `core/job.py` → bulkgpt_watchd.core.job, `core/__init__.py` → ….core."""
    return f"{PACKAGE}.{path.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")


def lives_in(path: str, homes: tuple[str, ...]) -> bool:
    return any(re.fullmatch(rf"{home}(_\w+)?(\.py|/.+)", path) for home in homes)


def imports(tree: ast.AST, path: str) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of all that is imported anywhere in a module, under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = [PACKAGE, *path.split("/")[:-1]]
            base = ".".join([*above[: len(above) + 1 - node.level], *filter(None, [node.module])])
            yield from ((node.lineno, f"{base if node.level else node.module}.{alias.name}") for alias in node.names)


def import_faults(path: str, target: str) -> Iterator[str]:
    room, top = room_of(path), target.partition(".")[0]
    if top != PACKAGE:
        if room == "core" and top not in sys.stdlib_module_names:
            yield f"core imports {top}: only the standard library is there"
        if room == "core" and top in NOT_IN_CORE:
            yield f"core imports {top}: {NOT_IN_CORE[top]}"
        if top in ONLY_IN and not lives_in(path, ONLY_IN[top][0]):
            yield f"only {', '.join(ONLY_IN[top][0])} may import {top}: {ONLY_IN[top][1]}"
        return
    other = [*target.split("."), ""][1]
    depth = {name: index for index, layer in enumerate(LAYERS) for name in layer}
    if room in APART and other != room:
        yield f"{room} imports {target}: {APART[room]}"
    elif other in APART and room not in {*APART, "cli"}:
        yield f"{room} imports {target}: only the command line starts it"
    elif other in depth and other != room and depth[other] <= depth.get(room, len(LAYERS)):
        yield f"{room or '__init__'} imports {target}: imports go down only"
    elif room == other == "adapters" and path != "adapters/__init__.py":
        sibling = [*target.split("."), ""][2]
        if sibling.split("_")[0] != thing_of(path):
            yield f"{path} imports {target}: adapters know one outside thing each, and never one another"


def call_faults(tree: ast.AST, path: str) -> Iterator[tuple[int, str]]:
    """Yield what reads the clock or touches files outside its home."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in NOW:
            owner = ast.unparse(node.value).split(".")[-1]
            if owner in {"datetime", "date"} and not lives_in(path, ONLY_IN["time"][0]):
                yield node.lineno, f"{ast.unparse(node)}: {ONLY_IN['time'][1]}"
        if isinstance(node, ast.Call) and not lives_in(path, tuple(TOUCHES_FILES)):
            name = ast.unparse(node.func)
            if FILE_CALL.fullmatch(name):
                yield node.lineno, f"{name}(): files are touched only by {', '.join(TOUCHES_FILES)}"


def shape_faults(path: str, source: str) -> Iterator[str]:
    if (lines := source.count("\n")) > MAX_LINES:
        yield f"{lines} lines: more than {MAX_LINES} are asking to be two files"
    if room_of(path) not in {"", *APART, *(room for layer in LAYERS for room in layer)}:
        yield "no such room: name its layer in tests/test_layers.py"
    for name in path.removesuffix(".py").split("/"):
        if SAYS_NOTHING.intersection(name.split("_")):
            yield f"{name}: the name does not say what it is for"
        if name in sys.stdlib_module_names:
            yield f"{name}: a module of the standard library has this name"


def circles(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield each circle that a walk along the imports closes."""
    done: set[str] = set()

    def walk(module: str, trail: tuple[str, ...]) -> Iterator[str]:
        if module in trail:
            yield " → ".join([*trail[trail.index(module) :], module]) + ": a circle"
        elif module not in done:
            for target in sorted(graph[module]):
                yield from walk(target, (*trail, module))
            done.add(module)

    for module in sorted(graph):
        yield from walk(module, ())


def faults(modules: Mapping[str, str]) -> list[str]:
    """
    List what breaks a rule.

    Shape: `modules` maps a path below the package, with slashes, to its source.
    """
    dotted = {dotted_name(path): path for path in modules}
    found: list[str] = []
    graph: dict[str, set[str]] = {path: set() for path in modules}
    for path, source in sorted(modules.items()):
        tree = ast.parse(source)
        found += [f"{path}: {fault}" for fault in shape_faults(path, source)]
        found += [f"{path}:{line}: {fault}" for line, fault in call_faults(tree, path)]
        for line, target in imports(tree, path):
            found += [f"{path}:{line}: {fault}" for fault in import_faults(path, target)]
            module = dotted.get(target) or dotted.get(target.rpartition(".")[0])
            if module:
                graph[path].add(module)
    return found + list(circles(graph))


def test_the_package_keeps_its_layers() -> None:
    modules = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in ROOT.rglob("*.py")}

    assert "core/errors.py" in modules
    assert "\n".join(faults(modules)) == ""


OURS = f"from {PACKAGE}"


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("effects.py", f"{OURS}.scheduler import Scheduler", "imports go down only"),
        ("core/job.py", f"import {PACKAGE}.config.load", "imports go down only"),
        ("core/job.py", f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {OURS} import web", "go down only"),
        ("core/job.py", "def late():\n    from ..adapters import clock", "imports go down only"),
        ("config/load.py", f"{OURS}.adapters.clock import SystemClock", "imports go down only"),
        ("web/page.py", f"{OURS}.service import Service", "imports go down only"),
        ("__init__.py", f"{OURS}.cli import main", "imports go down only"),
        ("adapters/api.py", f"{OURS}.adapters.clock import SystemClock", "never one another"),
        ("adapters/api.py", f"{OURS}.adapters import clock", "never one another"),
        ("adapters/api.py", "from . import clock", "never one another"),
        ("sandbox/server.py", f"{OURS}.core.wire import parse_status", "agree with our own mistakes"),
        ("service.py", f"{OURS}.sandbox.server import serve", "only the command line"),
        ("core/wire.py", "import yaml", "only the standard library"),
        ("core/wire.py", "import os.path", "core touches no disk"),
        ("core/wire.py", "from urllib.request import urlopen", "core touches no network"),
        ("core/policy.py", "from random import random", "chance comes in as an argument"),
        ("scheduler.py", "import time", "tests move the clock"),
        ("effects.py", "from time import monotonic", "tests move the clock"),
        ("effects.py", "import datetime\ndatetime.datetime.now(datetime.UTC)", "tests move the clock"),
        ("effects.py", "from datetime import date\ndate.today()", "tests move the clock"),
        ("scheduler.py", "import sqlite3", "the store can be exchanged"),
        ("effects.py", "open('a')", "files are touched only by"),
        ("scheduler.py", "import os\nos.rename('a', 'b')", "files are touched only by"),
        ("adapters/api.py", "import shutil\nshutil.move('a', 'b')", "files are touched only by"),
        ("core/table.py", "from pathlib import Path\nPath('a').read_text()", "files are touched only by"),
        ("adapters/foldersaver.py", "open('a')", "files are touched only by"),
        ("core/job.py", "\n" * 301, "asking to be two"),
        ("core/job_utils.py", "", "does not say what it is for"),
        ("core/queue.py", "", "standard library has this name"),
        ("plugins/one.py", "", "no such room"),
    ],
)
def test_a_module_that_breaks_a_rule_is_told(path: str, source: str, fault: str) -> None:
    assert fault in "\n".join(faults({path: source}))


def test_a_circle_is_told() -> None:
    modules = {
        "core/a.py": f"{OURS}.core.b import x",
        "core/b.py": f"{OURS}.core import c",
        "core/c.py": "from . import a",
    }

    assert faults(modules) == ["core/a.py → core/b.py → core/c.py → core/a.py: a circle"]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cli/demo.py", f"import time\n{OURS}.sandbox.server import serve\n{OURS} import __version__, service"),
        ("effects.py", f"{OURS}.core.job import Job\nclock.now()"),
        ("adapters/api.py", f"import aiohttp\n{OURS}.core import errors\n{OURS} import __version__"),
        ("adapters/folders_claim.py", f"import os\n{OURS}.adapters.folders import x\nos.rename('a', 'b')"),
        ("adapters/folders/move.py", "import os\nos.unlink('a')"),
        ("adapters/sqlite.py", "import sqlite3"),
        ("adapters/clock.py", "import time\nfrom datetime import datetime\ndatetime.now()"),
        ("core/ports.py", "from pathlib import Path, PurePath\ntext.replace('a', 'b')"),
        ("sandbox/server.py", f"import time\n{OURS}.sandbox.life import Life"),
        ("core/errors.py", "\n" * 300),
    ],
)
def test_a_module_that_keeps_the_rules_is_left_alone(path: str, source: str) -> None:
    assert faults({path: source}) == []
