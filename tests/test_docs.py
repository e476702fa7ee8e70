"""Hold README and docs to the code: tables, links and commands. Keys, log events and the quick start: see beside."""

from __future__ import annotations

import ast
import errno
import os
import re
from collections import defaultdict
from pathlib import Path

import click
import pytest

from bulkgpt_watchd import effects
from bulkgpt_watchd.adapters.folders.look import NEVER
from bulkgpt_watchd.cli import ending, root
from bulkgpt_watchd.config import load
from bulkgpt_watchd.core import events, exit_codes, shown
from bulkgpt_watchd.core.job import SHOWN_AS, State
from bulkgpt_watchd.core.lifecycle import TRANSITIONS
from bulkgpt_watchd.core.outcomes import OUTCOMES, what_to_do
from bulkgpt_watchd.service.daemon import NEEDS_RESTART
from tests.pages import MODULES, PAGES, README, ROOT, blocks, codes, command_lines, section, table
from tests.sample_jobs import sample_job
from tests.test_layers import LAYERS

OPERATING, FILES, DESIGN = "docs/operating.md", "docs/files.md", "docs/design.md"
TROUBLE = "docs/troubleshooting.md"

JOB_WITH_ALL = sample_job("h3k9p2mv", code="rejected", line=3, http_status=400, api_message="no", ended_at=0.0)

# --- tables of the README ---------------------------------------------------------------------------------------------


def test_the_folder_table_is_what_the_quick_start_configures(tmp_path: Path) -> None:
    (config,) = blocks(section(README, "## Use it"), "yaml")
    (tmp_path / "config.yaml").write_text(config)
    (route,) = load(tmp_path / "config.yaml").routes
    folders = (route.inbox, route.work, route.outbox, route.error, route.archive)

    told = [codes(row[0]) for row in table("README.md", "folder", "what is in it")]

    assert told == [[str(folder.relative_to(tmp_path))] for folder in folders]


def test_the_state_table_has_every_step() -> None:
    steps: dict[str, list[str]] = defaultdict(list)
    for state, name in SHOWN_AS.items():
        steps[name].append(state.value)

    told = table("README.md", "state", "steps", "where the file is, and what comes next")

    assert [(codes(row[0]), codes(row[1])) for row in told] == [([name], of) for name, of in steps.items()]


def test_the_code_table_says_what_the_error_files_say() -> None:
    advice = {code: what_to_do(code, job="JOB", route="ROUTE", other="OTHER") for code in OUTCOMES}

    told = table("README.md", "code", "meaning", "what to do")

    assert told == [[f"`{code}`", outcome.meaning, advice[code]] for code, outcome in OUTCOMES.items()]


def test_each_code_occurs_unless_the_readme_says_that_it_does_not() -> None:
    texts = {
        node.value
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if path != "core/outcomes.py" and isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

    assert OUTCOMES.keys() - texts == set(re.findall(r"`(\w+)` does not occur yet", README))


def test_the_table_of_exit_codes_has_every_one() -> None:
    numbers = {
        n for module in (ending, exit_codes) for name, n in vars(module).items() if name.isupper() and type(n) is int
    }

    told = [int(number) for row in table("README.md", "exit code", "meaning") for number in row[0].split(", ")]

    assert told == sorted({0, *numbers})


def test_the_table_of_variables_has_every_one_that_is_read() -> None:
    found: set[str] = set()
    for tree in MODULES.values():
        names = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            if isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(attr="get", value=owner), args=[key, *_]):
                    pass
                case ast.Subscript(value=owner, slice=key) | ast.Compare(left=key, comparators=[owner]):
                    pass
                case _:
                    continue
            if re.fullmatch(r"(\w+\.)*environ", ast.unparse(owner)):
                found.add(str(key.value if isinstance(key, ast.Constant) else names[ast.unparse(key)]))

    assert sorted(name for row in table("README.md", "variable", "meaning") for name in codes(row[0])) == sorted(found)


# --- commands ---------------------------------------------------------------------------------------------------------


def commands() -> dict[str, click.Command]:
    """Give all commands that do something, by what is typed for them."""
    found: dict[str, click.Command] = {}

    def walk(group: click.Group, typed: str) -> None:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if not isinstance(command, click.Group) or command.invoke_without_command:
                found[f"{typed}{name}"] = command
            if isinstance(command, click.Group):
                walk(command, f"{typed}{name} ")

    walk(root, "")
    return found


COMMANDS = commands()
OF_ALL = {"--config", "-c", "--json", "--help", "--version"}


def command_of(words: list[str]) -> str:
    return " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]


def options_of(command: str) -> set[str]:
    return {option for parameter in COMMANDS[command].params for option in parameter.opts if option[0] == "-"}


def test_the_table_of_commands_has_every_one_with_its_options() -> None:
    told: dict[str, set[str]] = defaultdict(set)
    for row in table("README.md", "command", "what it does"):
        command = command_of(codes(row[0])[0].split())
        told[command] |= set(re.findall(r"--[a-z-]+", " ".join(codes(row[0] + row[1]))))

    elsewhere = options_of("sandbox") - told["sandbox"]
    assert told == {name: options_of(name) - OF_ALL - (elsewhere if name == "sandbox" else set()) for name in COMMANDS}
    assert "more options in [docs/sandbox.md]" in README


@pytest.mark.parametrize("name", PAGES)
def test_every_command_that_is_told_exists(name: str) -> None:
    for typed in command_lines(PAGES[name]):
        words = typed[2:] if typed[0] in {"-c", "--config"} else typed
        command = command_of(words)
        told = {word for word in words if re.fullmatch(r"--?[a-z-]+", word)}

        assert command in COMMANDS, f"{name}: {' '.join(typed)}"
        assert told - options_of(command) - OF_ALL == set(), f"{name}: {' '.join(typed)}"


# --- the other pages --------------------------------------------------------------------------------------------------


def test_every_link_leads_somewhere() -> None:
    def anchors(page: str) -> set[str]:
        heads = re.findall(r"^#+ (.+)", page, re.MULTILINE)
        return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}

    wrong = []
    for name, page in PAGES.items():
        for target in re.findall(r"\]\(((?!\w+:)[^)]+)\)", page):
            path, _, anchor = target.partition("#")
            file = (ROOT / name).parent / path if path else ROOT / name
            if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
                wrong.append(f"{name}: {target}")

    assert wrong == []


def effect_names() -> dict[State, str]:
    """Give the names of the effects, which wrappers hide, as EFFECTS is written."""
    tree = MODULES["effects/__init__.py"]
    (written,) = (node.value for node in tree.body if isinstance(node, ast.AnnAssign) and "EFFECTS" in ast.dump(node))
    assert isinstance(written, ast.Dict)
    names = [
        next(inner.attr for inner in ast.walk(value.args[0]) if isinstance(inner, ast.Attribute))
        for value in written.values
        if isinstance(value, ast.Call)
    ]
    return dict(zip(effects.EFFECTS, names, strict=True))


def test_the_state_table_of_the_design_is_the_state_machine() -> None:
    effect = effect_names()
    machine = [
        [
            f"`{state.value}`",
            f"`{effect[state]}`" if state in effect else "",
            ", ".join(f"`{event.__name__}` → `{target.value}`" for event, target in row.items()),
        ]
        for state, row in TRANSITIONS.items()
    ]

    assert table(DESIGN, "state", "effect owed", "event → next state") == machine


def test_the_usual_way_of_the_design_leads_from_the_inbox_to_the_archive() -> None:
    (way,) = re.findall(r"The usual way: (.+?)\. ", PAGES[DESIGN].replace("\n", " "))
    state = State.DISCOVERED
    for name in codes(way):
        state = TRANSITIONS[state][getattr(events, name)]

    assert state is State.DONE


def test_the_rooms_of_the_design_are_the_layers() -> None:
    rooms = [set(codes(row[0])) for row in table(DESIGN, "room", "what is in it")]

    assert rooms == [set(layer) for layer in LAYERS if "__main__" not in layer]


def test_the_names_that_are_never_taken_are_told() -> None:
    (line,) = (line for line in PAGES[FILES].splitlines() if line.startswith("`.*`"))

    assert codes(line) == list(NEVER)


def test_the_fields_of_error_file_and_receipt_are_told() -> None:
    error = list(shown.error_file(JOB_WITH_ALL, has_source=True))
    receipt = list(shown.receipt(JOB_WITH_ALL, has_source=False, is_changed=True))
    page = PAGES[FILES]

    assert [codes(row[0])[0] for row in table(FILES, "field", "meaning")] == [
        *error,
        *(field for field in receipt if field not in error),
    ]
    both = [field for field in receipt if field in error]
    assert codes(section(page, "## NAME.receipt.json"))[: len(both)] == both


def test_the_reasons_that_are_explained_are_those_that_the_code_tells() -> None:
    texts = "\n".join(
        node.value
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    of_kernel = {os.strerror(code).lower() for code in (errno.EROFS, errno.ENOSPC)}
    reasons = [code for row in table(TROUBLE, "reason", "what to do") for code in codes(row[0])]

    assert [reason for reason in reasons if reason not in texts and not any(reason in one for one in of_kernel)] == []


@pytest.mark.parametrize(
    ("exception", "head"), [("Unusable", ("reason", "what to do")), ("StateUnusable", ("message", "what to do"))]
)
def test_what_keeps_a_route_or_the_state_from_use_is_explained(exception: str, head: tuple[str, str]) -> None:
    explained = [code for row in table(TROUBLE, *head) for code in codes(row[0])]
    told = [
        "".join(
            part.value
            for part in ast.walk(node.args[0])
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
        )
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == exception and node.args
    ]
    texts = [text for text in told if len(text.split()) > 1]  # the others hand on what SQLite says

    assert len(texts) > 3
    assert [text for text in texts if not any(code in text for code in explained)] == []


def test_what_needs_a_restart_is_told() -> None:
    (item,) = re.findall(r"- These take effect only after a restart.+?(?=\n\n|\n- )", PAGES[OPERATING], re.DOTALL)

    assert codes(item) == [*(f"api.{key}" for key in NEEDS_RESTART), "state", "control", "web.listen"]
