"""Scenario files: what they set, and how their mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import Fault, SandboxOptions
from bulkgpt_watchd.sandbox.scenario import ScenarioError, read_scenario


def read(tmp_path: Path, text: str | bytes) -> SandboxOptions:
    path = tmp_path / "scenario.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_scenario(str(path), SandboxOptions(key="kept"))


def test_a_scenario_sets_options_and_faults(tmp_path: Path) -> None:
    text = """
        preparing_s: 0
        running_s: 1.5
        finalizing_s: 0
        rows_per_s: 100
        link_ttl_s: 60
        max_upload_bytes: 1000
        workflows: [a, "b"]
        refusal_http_status: 200
        faults:
          - {call: submit, nth: 2, http_status: 503, headers: {Retry-After: 5}}
          - call: status
            times: always
            replace: {status: resting, on: 2024-01-01, more: [1, null, {a: true}]}
    """
    assert read(tmp_path, text) == SandboxOptions(
        key="kept",
        preparing_s=0,
        running_s=1.5,
        finalizing_s=0,
        rows_per_s=100,
        link_ttl_s=60,
        max_upload_bytes=1000,
        workflows=("a", "b"),
        refusal_http_status=200,
        faults=(
            Fault(call="submit", nth=2, http_status=503, headers={"Retry-After": "5"}),
            Fault(
                call="status",
                times="always",
                replace={"status": "resting", "on": "2024-01-01", "more": [1, None, {"a": True}]},
            ),
        ),
    )


def test_an_empty_scenario_changes_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "# nothing yet\n") == SandboxOptions(key="kept")
    assert read(tmp_path, "workflows: null\nrows_per_s: null\nmax_upload_bytes: null\n") == SandboxOptions(key="kept")


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("fault: []", "1:1", "fault: unknown, did you mean faults; known: faults, preparing_s"),
        ("a: 1", "1:1", "unknown; known: faults"),
        ("faults: {}", "1:9", "faults: it takes a list"),
        ("faults: [5]", "1:10", "it takes keys with values"),
        ("- a", "1:1", "it takes keys with values"),
        (
            "faults:\n  - call: submit\n    htp_status: 500",
            "3:5",
            "htp_status: unknown, did you mean http_status; known: call,",
        ),
        ("faults:\n  - call: submit\n    http_status: 5", "3:5", "http_status: 5 is wrong: it takes an HTTP status"),
        ("faults:\n  - hang: true", "2:5", "call: is missing; it takes submit, status or download"),
        ("faults:\n  - call: upload\n    hang: true", "2:5", "call: 'upload' is wrong: it takes submit, status or"),
        ("faults:\n  - call: submit\n    call: status", "3:5", "call: stands here twice"),
        ("faults:\n  - call: submit\n    hang: yes", "3:5", "hang: 'yes' is wrong: it takes true or false"),
        ("faults:\n  - call: submit\n    json: !!set {a}", "3:5", "json: {'a'} is wrong: it takes what JSON can say"),
        ("running_s: -1", "1:12", "running_s: it takes a number of at least 0"),
        ("running_s: .inf", "1:12", "running_s: it takes a number of at least 0"),
        ("running_s: true", "1:12", "running_s: it takes a number of at least 0"),
        ("rows_per_s: fast", "1:13", "rows_per_s: it takes a number"),
        ("max_upload_bytes: 1MB", "1:19", "max_upload_bytes: it takes a whole number of at least 0"),
        ("workflows: a", "1:12", "workflows: it takes a list of names"),
        ("workflows: [1]", "1:12", "workflows: it takes a list of names"),
        ("refusal_http_status: 500", "1:22", "refusal_http_status: it takes 200, or 400 to 499"),
        ("faults: [\n", "2:1", "not YAML: expected"),
        ("a: b: c", "1:5", "not YAML: mapping values are not allowed here"),
        ("faults: [{call: submit, json: &a [*a]}]", "1:31", "not YAML: found unconstructable recursive node"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_the_known_words(
    tmp_path: Path, text: str, where: str, words: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(tmp_path, text)

    assert str(caught.value).startswith(f"{tmp_path}/scenario.yaml:{where}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"\xff\xfe\xff", b"a: \x00", b"\x80", b"[" * 3000])
def test_what_is_no_text_is_told_too(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ScenarioError, match=r"scenario\.yaml.*not YAML"):
        read(tmp_path, data)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"absent\.yaml: cannot be read: No such file"):
        read_scenario(str(tmp_path / "absent.yaml"), SandboxOptions())
