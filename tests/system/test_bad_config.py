"""A wrong configuration: every mistake is told with its place, and nothing starts."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest

from tests.system.bed import Bed
from tests.system.process import COMMAND

WRONG = """\
api:
  base_url: https://api.bulkgpt.ai
  api_key_file: key
  submit_spacing: soon
  max_concurent_submits: 2
state: {path: state/state.db}
routes:
  - name: leads
    workflow_id: 12
    folder: leads
    scan_every: 10
    scan_every: 20
  - name: leads
    workflow_id: w
    folder: leads
    on_partial: ignore
  - name: ring
    workflow_id: w
    inbox: leads/outbox
    outbox: leads/inbox
    error: leads/inbox/error
    archive: other
"""


def words(text: str) -> str:
    return " ".join(text.split())


def test_every_mistake_is_told_with_its_place_and_nothing_starts(bed: Bed) -> None:
    bed.route()
    bed.config_file.write_text(WRONG)
    done = bed.command("config", "check")
    assert (done.returncode, done.stdout) == (78, "")
    told = dict(re.findall(rf"^{re.escape(str(bed.config_file))}:(\d+):\d+: (.+)$", done.stderr, re.MULTILINE))
    assert "submit_spacing" in told["4"]
    assert "max_concurrent_submits" in told["5"], "did you mean"
    assert "workflow_id" in told["9"]
    assert "scan_every" in told["12"]
    assert "on_partial" in told["16"]
    assert "deliver" in told["16"]
    assert done.stderr.rstrip().endswith("mistakes")

    as_json = json.loads(bed.command("config", "check", "--json").stdout)
    assert not as_json["ok"]
    assert len(as_json["mistakes"]) >= 5
    assert {"file", "line", "column", "path", "message"} <= as_json["mistakes"][0].keys()

    ran = subprocess.run([*COMMAND, "run"], env=bed.environ, capture_output=True, text=True, check=False, timeout=20)
    assert (ran.returncode, ran.stdout) == (78, "")
    assert set(re.findall(r"^\S+:\d+:\d+: .+$", ran.stderr, re.MULTILINE)) <= set(done.stderr.splitlines())
    assert not (bed.folder / "state").exists()
    assert os.listdir(bed.place("inbox")) == []


RINGS = {
    "outbox is the inbox": {"outbox": "leads/inbox"},
    "error below the inbox": {"error": "leads/inbox/error"},
    "archive is the other inbox": {"archive": "more/inbox"},
}


@pytest.mark.parametrize("name", RINGS)
def test_folders_that_would_feed_an_inbox_are_a_mistake(bed: Bed, name: str) -> None:
    bed.route(**RINGS[name])
    bed.route("more")
    for folder in RINGS[name].values():
        (bed.folder / folder).mkdir(exist_ok=True)
    bed.write()
    done = bed.command("config", "check")
    assert done.returncode == 78
    assert "inbox" in done.stderr


def test_two_routes_with_one_inbox_are_a_mistake_by_its_real_path_too(bed: Bed) -> None:
    bed.route()
    (bed.folder / "other").symlink_to("leads")
    bed.routes.append({"name": "more", "workflow_id": "w", "folder": "other"})
    bed.write()
    done = bed.command("config", "check")
    assert done.returncode == 78
    assert "leads" in done.stderr
