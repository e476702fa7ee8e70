"""
Name things: jobs, and the files that we make.

Names come from `os.fsdecode`, so any bytes the kernel allows are in them: bytes that are not UTF-8 are lone surrogates.
Names are cut between characters and always have an ASCII character of ours beside the cut, so that none of ours ever
decodes differently from how it was built. Nothing here knows a folder's content: whether a name is free is asked of
`Folders`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

NAME_MAX_BYTES = 255
"""What Linux file systems take for one name (NAME_MAX of limits.h)."""

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Digits and letters of job IDs: Crockford's base 32, without the look-alikes i, l, o and the accidental words of u."""

ID_BYTES = 5
"""Random bytes of a job ID: 40 bits are 8 characters."""

SIDECAR_SUFFIXES = (".error.json", ".receipt.json")
"""What stands beside files in error and archive (contract: folders of a route)."""

TEMP_SUFFIX = ".part"
"""Ending of our unfinished files; it is among the names that no inbox takes, nor those of most other programs."""

OURS = ".bulkgpt-watchd"
"""Beginning of every name of ours that has no job's ID: work folder, probe, unfinished sidecars."""

LONGEST_ADDITION_BYTES = len(max(SIDECAR_SUFFIXES, key=len)) + len(f"{OURS}-{TEMP_SUFFIX}")
"""The most that we ever add to a target's name: its longest sidecar while that is being written."""

SUFFIX_MAX_BYTES = 32
"""A longer "suffix" is a sentence with a dot in it; it may be cut."""

RESULT_FIELDS = frozenset({"name", "stem", "suffix", "job"})
"""Fields of a `result.name` template."""

MARKER_FIELDS = frozenset({"name", "stem"})
"""Fields of a `done_file` template."""

SHORTEST_SECRET = 8
"""What is shorter is no key, and taking it out would riddle every text."""

_WORK_NAME = re.compile(r"([0-9a-z]{8})(-|\.sent-|\.marker-)(.+)", re.DOTALL)
_KINDS = {"-": "plain", ".sent-": "sent", ".marker-": "marker"}
_FIELD = re.compile(r"\{([a-z]*)\}")

_NOT_EVERYWHERE = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f\udc80-\udcff]|[. ]$')
"""What Windows and its file systems allow in no name, and bytes that are not UTF-8."""


def hidden(text: str, secret: str) -> str:
    """Show *** for a secret, wherever it stands in a text."""
    return text.replace(secret, "***") if len(secret) >= SHORTEST_SECRET else text


def printable(text: str) -> str:
    r"""
    Show a name to a person, on one line and harmless for a terminal.

    Shape: bytes that are not UTF-8 and ASCII control characters as \xNN, others that print nothing or turn the
        writing direction as \uNNNN. A backslash stays: showing twice is showing once.
    """
    return "".join(character if character.isprintable() else _escape(ord(character)) for character in text)


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # an undecodable byte, as surrogateescape keeps it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def new_id(random_bytes: bytes) -> str:
    """
    Make a job ID of 5 random bytes.

    Shape: 8 characters of ALPHABET. Among a million jobs two may meet: the store refuses the second, draw again.
    """
    number = int.from_bytes(random_bytes[:ID_BYTES])
    return "".join(ALPHABET[number >> shift & 31] for shift in range(35, -1, -5))


def split_suffix(name: str) -> tuple[str, str]:
    """Split a base name before its last dot; a leading dot and what is too long for a suffix belong to the stem."""
    dot = name.rfind(".")
    if dot <= 0 or _size(name[dot:]) > SUFFIX_MAX_BYTES:
        return name, ""
    return name[:dot], name[dot:]


def fit(name: str, room_bytes: int = NAME_MAX_BYTES) -> str:
    """Cut the stem of a base name, between characters, so that the name has at most *room_bytes*."""
    return insert_before_suffix(name, "", room_bytes)


def insert_before_suffix(name: str, addition: str, room_bytes: int = NAME_MAX_BYTES) -> str:
    """Give `stem` + *addition* + `.suffix`, the stem cut so that all fits into *room_bytes*."""
    stem, suffix = split_suffix(name)
    room_bytes -= _size(addition) + _size(suffix)
    while stem and _size(stem) > room_bytes:
        stem = stem[:-1]
    return stem + addition + suffix


def respelled(name: str) -> str:
    """Spell a base name so that every file system takes it."""
    return _NOT_EVERYWHERE.sub("_", name)


def work_name(job_id: str, file: str) -> str:
    """Name a claimed file in work: `<job>-<base name>`."""
    return _prefixed(f"{job_id}-", file)


def sent_name(job_id: str, file: str) -> str:
    """Name a file in work whose submit passed the point of no return: `<job>.sent-<base name>`."""
    return _prefixed(f"{job_id}.sent-", file)


def marker_taken_name(job_id: str, file: str) -> str:
    """Name the marker of *file* once it was taken into work: `<job>.marker-<base name>`."""
    return _prefixed(f"{job_id}.marker-", file)


def parse_work_name(name: str) -> tuple[str, str, str] | None:
    """
    Read what a name in work says.

    Shape: (job ID, `plain` | `sent` | `marker`, base name, perhaps cut), or None where the name is not one of these.
    """
    match = _WORK_NAME.fullmatch(name)
    return (match[1], _KINDS[match[2]], match[3]) if match else None


def temp_name(job_id: str, name: str) -> str:
    """Name a result that is not published yet, beside its target: `.<job>-<name>.part`, spelled for everywhere."""
    head = f".{job_id}-"
    return head + fit(respelled(base_name(name)), NAME_MAX_BYTES - len(head) - len(TEMP_SUFFIX)) + TEMP_SUFFIX


def scratch_name(name: str) -> str:
    """Name a file being written beside its target that belongs to no job: `.bulkgpt-watchd-<name>.part`."""
    return f"{OURS}-{fit(name, NAME_MAX_BYTES - len(OURS) - 1 - len(TEMP_SUFFIX))}{TEMP_SUFFIX}"


def render_result_name(template: str, file: str, job_id: str) -> str:
    """
    Name the result of *file*: its path relative to the outbox.

    Shape: the template's {name}, {stem}, {suffix} and {job} speak of the base name; folders of *file* are kept.
    """
    stem, suffix = split_suffix(base_name(file))
    return _render(template, file, {"name": stem + suffix, "stem": stem, "suffix": suffix, "job": job_id})


def render_marker_name(template: str, file: str) -> str:
    """Name the marker of *file*, in the same folder; the template's {name} and {stem} speak of the base name."""
    stem, suffix = split_suffix(base_name(file))
    return _render(template, file, {"name": stem + suffix, "stem": stem})


def base_name(file: str) -> str:
    """Give the last part of a relative path."""
    return file.rpartition("/")[2]


def _render(template: str, file: str, fields: Mapping[str, str]) -> str:
    # Not str.format: it would reach into attributes, and the configuration has checked the fields already.
    rendered = _FIELD.sub(lambda match: fields.get(match[1], match[0]), template)
    # Two halves of one character may meet where a template puts fields side by side; then it is that character.
    rendered = rendered.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    folder, slash, _ = file.rpartition("/")
    return folder + slash + rendered


def _prefixed(prefix: str, file: str) -> str:
    return prefix + fit(base_name(file), NAME_MAX_BYTES - len(prefix))


def _size(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))
