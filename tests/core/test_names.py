from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkgpt_watchd.core import names

JOB = "k3v9q0xw"
EVERY_NAME = (
    st.binary(min_size=1, max_size=255)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in {b".", b".."})
    .map(os.fsdecode)
)
"""Every name that a Linux folder can hold."""


def size(name: str) -> int:
    return len(os.fsencode(name))


@pytest.mark.fault("S28")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Käufer 2024.csv", "Käufer 2024.csv"),
        ("a\nb\t.csv", r"a\x0ab\x09.csv"),
        (os.fsdecode(b"\xff\xfe.csv"), r"\xff\xfe.csv"),
        ("\x1b[2J.csv", r"\x1b[2J.csv"),
        ("\u202evsc.exe", r"\u202evsc.exe"),
        ("\x85\u2028", r"\u0085\u2028"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_a_shown_name_is_one_harmless_line(name: str, shown: str) -> None:
    assert names.printable(name) == shown


@pytest.mark.fault("S7")
@given(EVERY_NAME)
def test_every_name_can_be_shown_and_showing_twice_is_showing_once(name: str) -> None:
    shown = names.printable(name)
    shown.encode()
    assert shown.isprintable()
    assert names.printable(shown) == shown


def test_a_job_id_has_eight_characters_without_look_alikes() -> None:
    assert names.new_id(bytes(5)) == "00000000"
    assert names.new_id(b"\xff" * 5) == "zzzzzzzz"
    assert names.new_id(b"\x00\x00\x00\x00\x21") == "00000011"
    assert len(set(names.ALPHABET)) == 32
    assert not set(names.ALPHABET) & set("ilou")


@given(EVERY_NAME)
def test_names_in_work_fit_say_what_they_are_and_survive_the_file_system(name: str) -> None:
    for kind, made in {
        "plain": names.work_name(JOB, name),
        "sent": names.sent_name(JOB, name),
        "marker": names.marker_taken_name(JOB, name),
    }.items():
        assert size(made) <= 255
        assert os.fsdecode(os.fsencode(made)) == made
        parsed = names.parse_work_name(made)
        assert parsed is not None
        assert parsed[:2] == (JOB, kind)
        stem, suffix = names.split_suffix(name)
        assert parsed[2].endswith(suffix)
        assert stem.startswith(parsed[2].removesuffix(suffix))


@given(EVERY_NAME, EVERY_NAME)
def test_two_jobs_never_share_a_name_in_work(one: str, other: str) -> None:
    made = {
        kind(job, name) for kind in (names.work_name, names.sent_name) for job, name in ((JOB, one), ("0" * 8, other))
    }
    assert len(made) == 4


@given(EVERY_NAME)
def test_unfinished_files_are_hidden_fit_and_match_no_inbox(name: str) -> None:
    for made in (names.temp_name(JOB, name), names.scratch_name(name)):
        assert size(made) <= 255
        assert made.startswith(".")
        assert made.endswith(".part")
        assert os.fsdecode(os.fsencode(made)) == made


@given(EVERY_NAME)
def test_an_unfinished_result_has_a_name_that_every_file_system_takes(name: str) -> None:
    made = names.temp_name(JOB, name)
    assert not set('\\:*?"<>|') & set(made)
    assert all(ord(character) >= 32 for character in made)
    assert made.encode()


@given(EVERY_NAME, st.sampled_from(["", f"-{JOB}", f"-{JOB}-2"]), st.integers(60, 255))
def test_an_insertion_keeps_the_suffix_and_cuts_between_characters(name: str, addition: str, room_bytes: int) -> None:
    made = names.insert_before_suffix(name, addition, room_bytes)
    stem, suffix = names.split_suffix(name)
    assert size(made) <= room_bytes
    assert made.endswith(addition + suffix)
    assert stem.startswith(made.removesuffix(addition + suffix))
    assert os.fsdecode(os.fsencode(made)) == made
    if size(name) + size(addition) <= room_bytes:
        assert made == stem + addition + suffix


def test_a_character_is_not_cut_in_half() -> None:
    assert names.fit("ä" * 150 + ".csv") == "ä" * 125 + ".csv"


@pytest.mark.parametrize(
    ("name", "stem", "suffix"),
    [
        ("orders.csv", "orders", ".csv"),
        ("orders.tar.gz", "orders.tar", ".gz"),
        ("README", "README", ""),
        (".hidden", ".hidden", ""),
        ("a.", "a", "."),
        ("a. and here follows a whole sentence of words", "a. and here follows a whole sentence of words", ""),
    ],
)
def test_the_suffix_is_what_follows_the_last_dot(name: str, stem: str, suffix: str) -> None:
    assert names.split_suffix(name) == (stem, suffix)


@pytest.mark.parametrize(
    "name", ["orders.csv", ".k3v9q0xw-orders.csv.part", "k3v9q0xw-", "K3V9Q0XW-a", "k3v9q0x-orders.csv"]
)
def test_other_names_in_work_say_nothing(name: str) -> None:
    assert names.parse_work_name(name) is None


def test_a_newline_belongs_to_the_name() -> None:
    assert names.parse_work_name(f"{JOB}.sent-a\nb\n") == (JOB, "sent", "a\nb\n")


def test_a_result_is_named_by_its_template_and_keeps_its_folders() -> None:
    assert names.render_result_name("{name}", "sub/orders.csv", JOB) == "sub/orders.csv"
    assert names.render_result_name("{stem}.{job}{suffix}.done", "a/b/orders.csv", JOB) == f"a/b/orders.{JOB}.csv.done"
    assert names.render_marker_name("{stem}.ready", "sub/orders.csv") == "sub/orders.ready"


def test_a_template_reads_no_attribute_and_no_field_of_the_name() -> None:
    assert names.render_result_name("{name.__class__}-{other}", "{job}.csv", JOB) == "{name.__class__}-{other}"
    assert names.render_result_name("{name}", "{job}.csv", JOB) == "{job}.csv"


@given(EVERY_NAME)
def test_a_rendered_name_survives_the_file_system(name: str) -> None:
    for made in (names.render_result_name("{stem}{stem}", name, JOB), names.render_marker_name("{name}{stem}", name)):
        assert os.fsdecode(os.fsencode(made)) == made
