"""Hold the repository to what a stranger expects of it: it installs from any registry, and its files agree."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

import bulkgpt_watchd

ROOT = Path(__file__).parents[1]
LOCKS = {"runtime": "requirements/runtime.txt", "build": "requirements/build.txt", "dev": "requirements/dev.txt"}

FORBIDDEN = {
    "the host of a registry": [
        ".".join(labels)
        for labels in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("npmjs", "org"),
            ("debian", "org/debian"),
            ("deb", "debian", "org"),
            ("archive", "ubuntu", "com"),
        )
    ],
    "an option that chooses a registry": ["--" + option for option in ("index-url", "extra-index-url", "find-links")],
    "a path of one workplace": [f"/{folder}/" for folder in ("work", "root")],
}
"""Where packages come from is each machine's own matter. Assembled, so that this file does not hold them itself."""


def tracked_files() -> list[Path]:
    """List what git tracks; the folder may belong to another user, as in a container."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [file for name in listed.split("\0") if name and (file := ROOT / name).is_file()]


def forbidden_in(text: str) -> list[str]:
    """Name what a text must not hold; a path counts only where it begins: `leads/work/a.csv` is none of ours."""
    return [
        f"{needle}: {what}"
        for what, needles in FORBIDDEN.items()
        for needle in needles
        if re.search(rf"(?<![\w.~{{}}$)>*-]){re.escape(needle)}" if needle[0] == "/" else re.escape(needle), text)
    ]


def requirement_names(requirements: list[str | dict[str, str]]) -> set[str]:
    names = [re.match(r"[\w.-]+", line) for line in requirements if isinstance(line, str)]
    return {re.sub(r"[-_.]+", "-", name[0].lower()) for name in names if name}


def test_no_file_names_a_registry_or_a_workplace() -> None:
    found = [
        f"{file.relative_to(ROOT)} holds {fault}"
        for file in tracked_files()
        for fault in forbidden_in(file.read_text(encoding="utf-8", errors="replace"))
    ]

    assert found == []


@pytest.mark.parametrize("needle", [needle for needles in FORBIDDEN.values() for needle in needles])
def test_a_registry_or_a_workplace_is_found_in_a_text(needle: str) -> None:
    assert len(forbidden_in(f"see {needle}simple")) >= 1


def test_a_folder_below_another_is_no_workplace() -> None:
    assert forbidden_in("leads/work/a.csv ./work/a.csv {folder}/work/a.csv") == []


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"])
def test_a_stranger_finds_the_usual_files(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


def test_the_newest_version_in_the_changelog_is_the_package_s() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert headings[:2] == ["Unreleased", bulkgpt_watchd.__version__]


@pytest.mark.fault("S29")
@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_packages_and_hashes_and_no_place(name: str) -> None:
    lines = (ROOT / LOCKS[name]).read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if not re.match(r"[a-z0-9-]+==\S+( ; .+)? \\$|    --hash=sha256:\w{64}", line)] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_every_direct_dependency(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups, runtime = project["dependency-groups"], project["project"]["dependencies"]
    wanted = {"runtime": runtime, "build": groups["build"], "dev": runtime + groups["build"] + groups["dev"]}[name]
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / LOCKS[name]).read_text(encoding="utf-8"), re.MULTILINE))

    assert requirement_names(wanted) - locked == set()


def test_the_locks_agree_on_every_version() -> None:
    texts = {name: (ROOT / file).read_text(encoding="utf-8") for name, file in LOCKS.items()}
    pins = {name: dict(re.findall(r"^(\S+)==(\S+)", text, re.MULTILINE)) for name, text in texts.items()}
    smaller = pins["runtime"] | pins["build"]

    assert {package: pins["dev"][package] for package in smaller} == smaller


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    """SQL, the page and other data are easily left behind, and then missing only on the user's machine."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {file.relative_to(ROOT).as_posix() for file in tracked_files()}

    assert {name for name in names if name.startswith("bulkgpt_watchd/")} - set(ZipFile(wheel).namelist()) == set()
