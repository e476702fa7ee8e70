"""Answers that are none: what a hostile or broken server may put on the wire in place of one, byte for byte."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from itertools import repeat

from tests.adapters.loopback import Exchange
from tests.system.hostile import Act

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DRIPS_EVERY_S = 0.02
BLOCK_BYTES = 256 * 1024


def sends(*blocks: bytes) -> Act:
    """Send these bytes and hang up."""

    async def act(exchange: Exchange) -> None:
        await exchange.read()
        for block in blocks:
            await exchange.send(block)
        exchange.close()

    return act


def answers(body: bytes, head: bytes = OK) -> Act:
    """Send a whole answer with this body."""
    return sends(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def without_end(first: bytes, block: bytes, pause_s: float = 0.0) -> Act:
    """Send a block again and again, until the other side has enough."""

    async def act(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.send(first)
        for each in repeat(block if pause_s else block * (1 + BLOCK_BYTES // len(block))):
            await exchange.send(each)
            await asyncio.sleep(pause_s)

    return act


def drips(first: bytes, block: bytes) -> Act:
    return without_end(first, block, DRIPS_EVERY_S)


async def hangs(exchange: Exchange) -> None:
    """Say nothing until the other side goes away."""
    await exchange.read()
    await exchange.hang()
    exchange.is_closed = True


async def resets(exchange: Exchange) -> None:
    await exchange.read()
    exchange.reset()


def bomb(gigabytes: int, wbits: int = 31) -> bytes:
    """Compress so many gigabytes of blanks to a thousandth, as gzip unless *wbits* says zlib; it has no end."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    first = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b" " * 1_000_000) + packer.flush(zlib.Z_FULL_FLUSH)  # it needs nothing of what was before
    return first + block * (1000 * gigabytes)


def packed(encoding: bytes, body: bytes) -> Act:
    """Answer with a Content-Encoding that nobody asked for."""
    return answers(body, OK + b"Content-Encoding: " + encoding + b"\r\n")


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = OK + b"Content-Length: 1000000000000000\r\n\r\n"
ID = b'{"taskId": "task"}'

UNREADABLE: dict[str, Act] = {
    # --- silence and slowness
    "nothing": hangs,
    "nothing, and a reset": resets,
    "nothing, and an end": sends(),
    "half a status line": sends(b"HTTP/1.1 20"),
    "a head without its end": sends(OK),
    "a byte of the body now and then": drips(LONG, b" "),
    "a chunk now and then": drips(CHUNKED, b"1\r\n \r\n"),
    "a header now and then": drips(OK, b"X-More: x\r\n"),
    "an interim answer now and then": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    # --- floods
    "headers without end": without_end(OK, b"X-More: x\r\n"),
    "one header without end": without_end(OK + b"X-More: ", b"x"),
    "a header's name without end": without_end(OK, b"x"),
    "a status line without end": without_end(b"HTTP/1.1 200 ", b"O"),
    "interim answers without end": without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "early hints without end": without_end(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
    "a body without end, with a length": without_end(LONG, b" "),
    "a body without end, in chunks": without_end(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "a body without end, in tiny chunks": without_end(CHUNKED, b"1\r\n \r\n"),
    "a body without end and without a length": without_end(OK + b"Connection: close\r\n\r\n", b" "),
    "a chunk's extension without end": without_end(CHUNKED, b"1;x=x"),
    "trailers without end": without_end(CHUNKED + b"0\r\n", b"X-More: x\r\n"),
    "blank lines without end": without_end(b"", b"\r\n"),
    # --- no HTTP
    "no HTTP": sends(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "HTTP of 1991": sends(b"<html>hello</html>"),
    "HTTP/2": sends(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)),
    "a TLS alert": sends(b"\x15\x03\x03\x00\x02\x02\x28"),
    "another protocol": sends(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + ID),
    "a code of four digits": sends(b"HTTP/1.1 2000 OK\r\nContent-Length: 18\r\n\r\n" + ID),
    "a length below zero": sends(OK + b"Content-Length: -1\r\n\r\n" + ID),
    "a length beyond all numbers": sends(OK + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n" + ID),
    "two lengths": sends(OK + b"Content-Length: 18\r\nContent-Length: 4\r\n\r\n" + ID),
    "a length and chunks": sends(OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n12\r\n" + ID),
    "a chunk beyond all numbers": sends(CHUNKED + b"F" * 40 + b"\r\n" + ID),
    "a chunk below zero": sends(CHUNKED + b"-1\r\n" + ID),
    "NUL in a header": sends(OK + b"X-More: \0\r\nContent-Length: 18\r\n\r\n" + ID),
    # --- compressed, although it was not asked for
    "a bomb in gzip": packed(b"gzip", bomb(20)),
    "a bomb in deflate": packed(b"deflate", bomb(20, 15)),
    "a bomb of many members": packed(b"gzip", gzip.compress(b" ") * 100_000),
    "a bomb in a bomb": packed(b"gzip, gzip", gzip.compress(bomb(20))),
    "no gzip at all": packed(b"gzip", ID),
    "an unknown compression": packed(b"br", ID),
    # --- JSON
    "JSON of a hundred megabytes": sends(LONG, b'{"taskId": "' + b"x" * 100_000_000),
    "JSON deeper than any stack": answers(b"[" * 500_000),
    "objects deeper than any stack": answers(b'{"taskId":' * 90_000),
    "a number of a million digits": answers(b'{"taskId": ' + b"9" * 900_000 + b"}"),
    "numbers that are none": answers(b'{"taskId": NaN, "status": -Infinity}'),
    "names given twice": answers(b'{"taskId": "a", "taskId": "b"}'),
    "lone surrogates": answers(rb'{"taskId": "\ud800", "status": {"status": "\udfff"}}'),
    "terminal codes": answers(rb'{"taskId": "\u001b[2J\u0007", "status": {"status": "\u001b[2J"}}'),
    "text that turns around": answers(rb'{"taskId": "\u202ea", "status": {"status": "\u202ea"}}'),
    "a word of nearly a megabyte": answers(json.dumps({"taskId": "x" * 900_000, "status": {"status": "x"}}).encode()),
    "UTF-16": answers('{"taskId": "a"}'.encode("utf-16")),
    "UTF-8 that is none": answers(b'{"taskId": "\xff\xfe"}'),
    "NUL": answers(b"\0" * 1000),
    "wrong types": answers(b'{"taskId": ["a"], "status": ["completed"], "error": {"error": "x"}}'),
    "true": answers(b"true"),
    "a page": answers(b"<html><script>alert(1)</script></html>", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"),
}
"""What each call may get; none is an answer, so a submit is in doubt, and a free call is made again."""
