"""Files that are no good, or are no files: each is told in clear words, none is paid, and none stops the others."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import answer
from tests.system.bed import Bed
from tests.system.process import AS_MORTAL, wait

GOOD = b"name,city\nAnna,Ulm\n"


@dataclass(frozen=True)
class Broken:
    """A file that is refused: why, in which line, and a word that must be in the message."""

    content: bytes
    code: str
    line: int | None
    word: str = ""


BROKEN = {
    "too few values": Broken(b"a,b\n1,2\n3\n4,5\n", "csv_invalid", 3, "1"),
    "too many values": Broken(b"a,b\n1,2\n3,4,5\n", "csv_invalid", 3, "3"),
    "a quote that does not end": Broken(b'a,b\n1,2\n"3,4\n5,6\n', "csv_invalid", 3, "quot"),
    "text after a quote": Broken(b'a,b\n1,2\n"3"x,4\n', "csv_invalid", 3),
    "a NUL byte": Broken(b"a,b\n1,2\n3,\x004\n", "csv_invalid", 3, "NUL"),
    "a line broken within quotes counts as its lines": Broken(b'a,b\n"x\ny",2\n3\n', "csv_invalid", 4),
    "Latin-1": Broken("name,city\nAnna,Köln\n".encode("latin-1"), "csv_encoding", 2, "UTF-8"),
    "UTF-16": Broken("name,city\nAnna,Ulm\n".encode("utf-16"), "csv_encoding", 1, "UTF-16"),
    "a header only": Broken(b"name,city\n", "csv_empty", 1),
    "blank lines only": Broken(b"\n\n\n", "csv_empty", None),
    "a header and blank lines": Broken(b"a,b\n\n\n", "csv_empty", 1),
    "a picture": Broken(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)), "csv_encoding", 1),
    "a spreadsheet": Broken(b"PK\x03\x04" + bytes(range(256)) * 4, "csv_invalid", 1, "Excel"),
}


def test_a_broken_file_is_refused_with_its_line_before_it_is_paid(bed: Bed) -> None:
    """All at once, with good ones between them: none stops another."""
    for number, (name, broken) in enumerate(BROKEN.items()):
        bed.drop(f"{name}.csv", broken.content)
        bed.drop(f"good {number}.csv", GOOD + b"Bert,%d\n" % number)
    daemon = bed.start()
    jobs = {job["file"]: job for job in bed.wait_ended(2 * len(BROKEN))}

    wrong = []
    for name, broken in BROKEN.items():
        job = jobs[f"{name}.csv"]
        if job["state"] != "failed":
            wrong.append(f"{name}: {job['state']}")
            continue
        why = bed.error(f"{name}.csv")
        if (why["code"], why.get("line")) != (broken.code, broken.line) or broken.word not in why["message"]:
            wrong.append(f"{name}: {why['code']} line {why.get('line')}: {why['message']}")
        assert "drop it" in why["what_to_do"] or "move" in why["what_to_do"], why
        assert bed.files("error")[f"{name}.csv"] == broken.content
        assert daemon.told("job.failed", job=job["job"])[0].get("line") == why.get("line")
    assert wrong == [], "\n".join(wrong)
    assert len(bed.files("outbox")) == len(bed.sandbox.ledger) == len(BROKEN)


FINE = {
    "BOM": b"\xef\xbb\xbfa,b\n1,2\n",
    "CRLF": b"a,b\r\n1,2\r\n",
    "no newline at the end": b"a,b\n1,2",
    "semicolons": b"a;b\n1;2\n3;4\n",
    "tabs": b"a\tb\n1\t2\n",
    "one column": b"a\n1\n2\n",
    "quotes with newlines and quotes": b'a,b\n"x\ny","say ""hi"""\n',
    "blank lines at the end": b"a,b\n1,2\n\n\n",
    "emoji": "a,b\n\U0001f600,ü\n".encode(),
    "formulas": b"a,b\n=1+1,@x\n",
}


def test_what_other_programs_write_is_taken_byte_for_byte(bed: Bed) -> None:
    hashes = {name: bed.drop(f"{name}.csv", content) for name, content in FINE.items()}
    bed.start()
    jobs = {job["file"]: job for job in bed.wait_ended(len(FINE))}
    failed = [(name, jobs[f"{name}.csv"]["message"]) for name in FINE if jobs[f"{name}.csv"]["state"] != "done"]
    assert failed == []
    assert {record.sha256 for record in bed.sandbox.accepted} == set(hashes.values())
    assert bed.files("outbox") == {f"{name}.csv": answer(content) for name, content in FINE.items()}


def test_what_a_route_forbids_is_refused(bed: Bed) -> None:
    bed.api["max_upload_bytes"] = "1KB"
    bed.route(csv={"max_rows": 2, "required_columns": ["city"]})
    bed.drop("rows.csv", b"city\n1\n2\n3\n")
    bed.drop("columns.csv", b"town\n1\n")
    bed.drop("large.csv", b"city\n" + b"x" * 2000 + b"\n")
    bed.drop("good.csv", b"city\n1\n2\n")
    bed.start()
    bed.wait_ended(4)
    assert bed.error("rows.csv")["code"] == "too_many_rows"
    assert "2" in bed.error("rows.csv")["message"]
    columns = bed.error("columns.csv")
    assert (columns["code"], columns["line"]) == ("csv_invalid", 1)
    assert "city" in columns["message"]
    assert bed.error("large.csv")["code"] == "too_large"
    assert "max_upload_bytes" in bed.error("large.csv")["what_to_do"]
    assert bed.files("outbox").keys() == {"good.csv"}


HOSTILE = [
    b"\xff\xfe\x80.csv",
    b"new\nline.csv",
    b"-rf.csv",
    b"--help.csv",
    b"x" * 251 + b".csv",
    "ä".encode() * 125 + b".csv",
    b"esc\x1b[31m.csv",
    "right to left \u202e.csv".encode(),
    b" leading and trailing .csv",
    b"%2e%2e%2f.CSV",
    b"a..csv",
    b'quote" and \\ backslash.csv',
    b"{name}{job}%s.csv",
    b"$(touch x);`id`.csv",
    b"a.csv.csv",
    b"\x01\x7f.csv",
    b"*?[a].csv",
    b"\xed\xa0\x80.csv",
    b"null\xe2\x80\x8bwidth.csv",
]


@pytest.mark.fault("S7")
def test_names_of_any_bytes_go_through_and_come_back(bed: Bed) -> None:
    for number, name in enumerate(HOSTILE):
        bed.drop(name, b"a\n%d\n" % number)
        bed.drop(name[: 255 - 9 - len(b".csv")] + b" broken!.csv" if len(name) < 200 else b"b%d.csv" % number, b"a\n")
    daemon = bed.start()
    jobs = bed.wait_ended(2 * len(HOSTILE))
    assert sum(job["state"] == "done" for job in jobs) == len(HOSTILE)
    outbox = {os.fsencode(name): content for name, content in bed.files("outbox").items()}
    for number, name in enumerate(HOSTILE):
        # A long one is cut, so that the name of its receipt fits too.
        [found] = [one for one in outbox if one == name or (len(name) > 200 and one.startswith(name[:200]))]
        assert found.endswith(name[-4:])
        assert outbox.pop(found) == answer(b"a\n%d\n" % number), name
    assert outbox == {}
    archive = set(os.listdir(os.fsencode(bed.place("archive"))))
    assert set(HOSTILE) - archive == {name for name in HOSTILE if len(name) > 255 - len(".receipt.json")}
    assert len(archive) == 2 * len(HOSTILE)
    assert len(bed.files("error")) == 2 * len(HOSTILE)

    text = daemon.log_file.read_bytes()
    assert b"\x1b" not in text
    assert b"\xe2\x80\xae" not in text
    assert {line["file"] for line in daemon.told("job.claimed")} == {job["file"] for job in jobs}
    for command in (("jobs",), ("status",), ("jobs", "show", jobs[0]["job"])):
        shown = bed.does(*command)
        assert not [character for character in shown if not (character.isprintable() or character == "\n")]
    assert rb"\xff\xfe\x80.csv" in {job["file"].encode() for job in jobs}


@pytest.mark.fault("S1", "S3")
def test_what_is_no_file_or_not_meant_is_left_where_it_is(bed: Bed) -> None:
    bed.route()
    inbox = bed.place("inbox")
    secret = bed.folder / "elsewhere.csv"
    secret.write_bytes(b"a\n1\n")
    os.symlink(secret, inbox / "link.csv")
    os.symlink("nowhere", inbox / "dangling.csv")
    os.mkfifo(inbox / "fifo.csv")
    (inbox / "folder.csv").mkdir()
    (inbox / "folder.csv" / "inner.csv").write_bytes(b"a\n2\n")
    listening = socket.socket(socket.AF_UNIX)
    folder = os.open(inbox, os.O_PATH)
    listening.bind(f"/proc/self/fd/{folder}/socket.csv")
    os.close(folder)
    unmeant = (".hidden.csv", "x.csv.part", "x.csv.filepart", "~$x.csv", "x.txt", "a.csv.tmp", "n.csv.crdownload")
    for name in (*unmeant, "y.csv.error.json", "z.csv.receipt.json", "noext"):
        (inbox / name).write_bytes(b"a\n1\n")
    before = {name: os.lstat(inbox / name) for name in os.listdir(inbox)}

    daemon = bed.start()
    bed.drop("good.csv", GOOD)
    bed.wait_ended(1)
    time.sleep(0.6)
    after = {name: os.lstat(inbox / name) for name in os.listdir(inbox) if name != ".bulkgpt-watchd"}
    assert after.keys() == before.keys()
    assert all(after[name].st_ino == before[name].st_ino for name in before)
    ignored = {line["file"]: line["reason"] for line in daemon.told("file.ignored")}
    assert ignored.keys() == {"link.csv", "dangling.csv", "fifo.csv", "folder.csv", "socket.csv"}
    for name, kind in (("link.csv", "link"), ("fifo.csv", "FIFO"), ("folder.csv", "folder"), ("socket.csv", "socket")):
        assert kind in ignored[name]
    assert len(daemon.told("file.ignored")) == len(ignored), "each is told once"
    assert len(bed.sandbox.ledger) == 1
    listening.close()


@pytest.mark.fault("F47")
@pytest.mark.skipif(os.geteuid() == 0 and not AS_MORTAL, reason="as root without setpriv")
def test_a_file_that_may_not_be_read_is_left_and_told_until_it_may(bed: Bed) -> None:
    bed.drop("closed.csv", GOOD)
    closed = bed.place("inbox") / "closed.csv"
    closed.chmod(0)
    daemon = bed.start(before=AS_MORTAL)
    told = daemon.wait_for("file.ignored", level="warning")
    assert told["file"] == "closed.csv"
    assert "ermission" in told["reason"] or "right" in told["reason"], told
    bed.drop("open.csv", GOOD + b"Bert,Bonn\n")
    bed.wait_ended(1)
    status = bed.json("status")
    assert status["routes"][0]["unreadable"] == ["closed.csv"]
    assert any("closed.csv" in problem for problem in status["problems"])
    assert closed.exists()
    closed.chmod(0o600)
    bed.wait_ended(2)
    assert bed.files("outbox").keys() == {"closed.csv", "open.csv"}
    assert bed.json("status")["state"] == "ok"


@pytest.mark.fault("S11")
def test_a_file_that_vanishes_from_work_is_told_and_stops_nobody(bed: Bed) -> None:
    bed.api["retry"] = {"min": "1s", "max": "1s"}
    bed.api["base_url"] = "http://127.0.0.1:9"
    sha256 = bed.drop("stolen.csv", GOOD)
    daemon = bed.start()
    daemon.wait_for("job.deferred", at="ready")
    [stolen] = [path for path in (bed.place("inbox") / ".bulkgpt-watchd").iterdir() if "stolen" in path.name]
    stolen.unlink()
    bed.gone[sha256] += 1
    daemon.wait_for("job.quarantined")
    job = bed.job("stolen.csv")
    assert (job["state"], job["code"]) == ("failed", "source_lost")
    assert bed.error("stolen.csv")["code"] == "source_lost"
    assert bed.files("error").keys() == {"stolen.csv.error.json"}


@pytest.mark.fault("F24", "S11")
def test_a_sender_that_holds_the_claimed_file_open_is_noticed(bed: Bed) -> None:
    """It writes on after the claim: what is submitted is what was checked, and all of it."""
    bed.route(settle="300ms")
    inbox = bed.place("inbox")
    with open(inbox / "slow.csv", "wb") as file:
        file.write(b"a\n1\n")
        file.flush()
        daemon = bed.start()
        bed.does("pause")
        time.sleep(0.6)
        bed.does("resume")
        daemon.wait_for("job.claimed")
        file.write(b"2\n")
        file.flush()
        wait(lambda: daemon.told("job.disturbed") or daemon.told("task.submitted"), "it goes on", daemon=daemon)
    [job] = bed.wait_ended(1)
    [record] = bed.sandbox.accepted
    sent = {b"a\n1\n": 1, b"a\n1\n2\n": 2}
    assert record.rows in sent.values()
    assert job["rows"] == record.rows
    assert bed.files("archive")["slow.csv"] == b"a\n1\n2\n"
    assert Path(inbox).exists()
