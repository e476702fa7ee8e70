"""docs/sandbox.md against the code: its words, its scenario, and its commands, run as a person would."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import re
import shutil
import types
from pathlib import Path

import pytest

from bulkgpt_watchd.cli.sandbox import sandbox as command
from bulkgpt_watchd.sandbox import Sandbox, SandboxOptions, answer
from bulkgpt_watchd.sandbox.ledger import Record
from bulkgpt_watchd.sandbox.scenario import read_scenario
from bulkgpt_watchd.sandbox.vocabulary import CALLS, KEYS, REPLIES, TRANSFERS
from tests.sandbox.conftest import client_of

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def taken_by(key: str) -> str:
    """Say what a word takes, as its error does."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        KEYS[key].check(object())
    return re.split(r" \(|; ", str(caught.value))[0]


def test_the_page_has_every_word_with_its_meaning() -> None:
    rows = [
        f"| `{name}` | {taken_by(name)} | {'any' if key.calls == CALLS else ', '.join(key.calls)} | {key.meaning} |"
        for name, key in KEYS.items()
    ]

    assert "\n".join(rows) in PAGE
    assert all(f"`{word}`" in PAGE for word in (*REPLIES, *TRANSFERS))


def test_the_page_has_every_option_setting_and_field() -> None:
    for option in command.params:
        assert f"| `{option.opts[0]}` |" in PAGE
    not_in_a_file = {"host", "port", "download_port", "key", "ledger_file"}
    for field in dataclasses.fields(SandboxOptions):
        assert field.name in not_in_a_file or re.search(rf"^{field.name}:", blocks("yaml")[0], re.MULTILINE)
    for field in dataclasses.fields(Record):
        assert f"`{field.name}`" in PAGE


def test_the_example_scenario_is_right(tmp_path: Path) -> None:
    (path := tmp_path / "scenario.yaml").write_text(blocks("yaml")[0])

    assert len(read_scenario(str(path), SandboxOptions()).faults) == 8


async def test_the_commands_of_the_page_work(tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("no curl here")
    options = SandboxOptions.instant(preparing_s=0.3)
    async with Sandbox(options) as sandbox:
        by_hand, control = (block.replace("http://127.0.0.1:8080", sandbox.base_url) for block in blocks("sh"))
        first = await run(by_hand.replace("sleep 1", "sleep 0.1"), tmp_path)
        second = await run(control, tmp_path)

    assert first.endswith(answer((tmp_path / "input.csv").read_bytes()).decode())
    assert second.startswith('{"planned": 1}{"planned": 2}[{"call": "submit"')
    assert '{"planned": 0}{"submits": [{' in second


async def run(script: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", script, cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_the_python_example_works() -> None:
    """What it asserts of the ledger is a part of it."""
    uploaded_to = []

    async def upload(sandbox: Sandbox) -> None:
        uploaded_to.append(sandbox.base_url)
        async with client_of(sandbox) as client:
            await client.submit(b"name\n" + b"x" * 18 + b"\n")

    (example,) = blocks("python")
    code = compile(example.replace("...", "await upload(sandbox)", 1), "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await types.FunctionType(code, {"upload": upload})()
    assert len(uploaded_to) == 1
    assert "assert [record.csv_bytes" in example
