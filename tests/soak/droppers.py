"""Drop files as people and programs do: whole, twice, broken, slowly, large."""

from __future__ import annotations

import hashlib
import os
import random
import time

from tests.soak.bed import Soak, content_of

BROKEN = (b"Input_1,b\nfile %d\n", b"Input_1\n", b"Input_1\n\xff\xfe file %d\n", b'Input_1\n"file %d\n')
"""Of two columns and one cell, without rows, not UTF-8, an open quote."""

LARGE_ROWS = 20_000
"""Half a megabyte: many blocks for the socket and the disk; 100 in a quarter of an hour."""

GROWS_S = (0.1, 0.4)
"""Pauses of a slow writer, far below `settle`; until its end the last byte is no newline: six times that."""


def start(bed: Soak) -> None:
    bed.act_at_times("dropper of files", 0.1, 0.7, lambda chance: drop(bed, chance))
    bed.act_at_times("dropper of duplicates", 1.0, 6.0, lambda chance: drop_again(bed, chance))
    bed.act_at_times("dropper of broken files", 1.0, 6.0, lambda chance: drop_broken(bed, chance))
    bed.act_at_times("slow writer", 0.5, 3.0, lambda chance: grow(bed, chance))
    bed.act_at_times("dropper of large files", 4.0, 12.0, lambda chance: drop(bed, chance, "prices", LARGE_ROWS))


def drop(bed: Soak, chance: random.Random, route: str | None = None, rows: int | None = None) -> None:
    number, route = bed.new_number(), route or chance.choice(bed.routes)
    rows = rows or chance.randint(1, 30)
    content = content_of(number, rows)
    with bed.still:
        if not bed.is_draining.is_set() and bed.has_room(route):
            bed.expect(number, rows, route)
            name = b"%d not utf-8 \xff.csv" % number if number % 10 == 9 else b"%d.csv" % number
            put(bed, route, os.fsdecode(name), content)
            bed.counts["large files" if rows == LARGE_ROWS else "files"] += 1


def drop_again(bed: Soak, chance: random.Random) -> None:
    with bed.still:
        number = chance.choice([number for number in bed.rows if bed.rows[number] < LARGE_ROWS] or [0])
        if not bed.is_draining.is_set() and number and bed.has_room(route := bed.route_of[number]):
            bed.expect(number, bed.rows[number], route)
            content = content_of(number, bed.rows[number])
            put(bed, route, f"{number}-again-{bed.new_number()}.csv", content)
            bed.counts["duplicates"] += 1


def drop_broken(bed: Soak, chance: random.Random) -> None:
    number, route, pattern = bed.new_number(), chance.choice(bed.routes), chance.choice(BROKEN)
    content = pattern % number if b"%d" in pattern else pattern
    with bed.still:
        if not bed.is_draining.is_set() and bed.has_room(route):
            sha256 = hashlib.sha256(content).hexdigest()
            bed.broken.add(sha256)
            bed.expected[sha256] += 1
            put(bed, route, f"{number}-broken.csv", content)
            bed.counts["broken files"] += 1


def grow(bed: Soak, chance: random.Random) -> None:
    """Write a file under its final name bit by bit; its folder has a quiet time."""
    number, rows, route = bed.new_number(), chance.randint(5, 15), "orders"
    with bed.still:
        if bed.is_draining.is_set() or not bed.has_room(route):
            return
        path = bed.place(route, "inbox") / f"{number}-slow.csv"
        bed.growing.add(path.name)
        file = open(path, "wb", buffering=0)  # noqa: SIM115  # written to between pauses
    with file:
        parts = content_of(number, rows).split(b"\n")[:-1]
        for at, part in enumerate(parts):
            file.write((b"\n" if at else b"") + part)
            time.sleep(chance.uniform(*GROWS_S))
        with bed.still:
            bed.expect(number, rows, route)
            file.write(b"\n")
            bed.growing.remove(path.name)
            bed.counts["slow files"] += 1


def put(bed: Soak, route: str, name: str, content: bytes) -> None:
    """Put a whole file into an inbox by a rename, and its marker where the route wants one."""
    inbox = bed.place(route, "inbox")
    dotted = inbox / f".{name}"
    dotted.write_bytes(content)
    dotted.rename(inbox / name)
    if route == "stock":
        (inbox / f"{name}.done").touch()
