from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkgpt_watchd.config import Settings
from bulkgpt_watchd.config.document import read_document
from bulkgpt_watchd.config.example import example, reference
from bulkgpt_watchd.config.wording import key_paths
from tests.config.conftest import WriteConfig

ROOT = Path(__file__).parents[2]
AGAIN = "run: .venv/bin/python -m bulkgpt_watchd.config.example"


@pytest.mark.parametrize(
    ("name", "write_again"), [("config.example.yaml", example), ("docs/configuration.md", reference)]
)
def test_the_committed_copy_is_what_the_models_say(name: str, write_again: Callable[[], str]) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == write_again(), AGAIN


def test_the_example_loads_and_changes_nothing_but_settle(settings_of: Callable[[str], Settings]) -> None:
    loaded = settings_of(example())
    bare = settings_of(
        "routes: [{name: leads, folder: /srv/bulkgpt/leads, settle: 10s, workflow_id: "
        '"v0#Workflow#6b056f598d994d1ca98821cca221d07e#1721762149339"}]'
    )

    assert loaded == bare


def test_the_example_shows_every_key(write: WriteConfig) -> None:
    shown = {re.sub(r"\[\w+\]", "[]", read_document(write(example())).name_of(trail)) for trail in document_keys(write)}

    assert shown == {path for path in key_paths() if not path.startswith("defaults.")}


def document_keys(write: WriteConfig) -> list[tuple[str | int, ...]]:
    return list(read_document(write(example())).keys)


def test_every_key_is_explained_in_one_sentence_of_the_reference() -> None:
    page = reference()
    for path in key_paths():
        section, _, key = path.replace("routes[]", "routes").partition(".")
        if key and section != "defaults" and f"| `{key}` |" not in page:
            assert any(
                f"| `{inner.partition('.')[2]}` |" in page for inner in key_paths() if inner.startswith(f"{path}.")
            )


def test_the_example_can_be_printed_on_any_terminal() -> None:
    assert example().isascii()


def test_the_files_of_the_reference_load(settings_of: Callable[[str], Settings], tmp_path: Path) -> None:
    smallest, more = re.findall(r"```yaml\n(.*?)```", reference(), re.DOTALL)
    (tmp_path / "routes.d").mkdir()
    (tmp_path / "routes.d/more.yaml").write_text(more)

    assert [route.name for route in settings_of(smallest).routes] == ["leads", "catalog"]
