"""A submit: exact bytes, the last block held back, and who is to blame when it fails."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import socket
import threading
import time
import tracemalloc

import pytest

from bulkgpt_watchd.adapters.api_upload import READ_BYTES
from bulkgpt_watchd.core.errors import Denied, OutcomeUnknown, Refused, SourceChanged, Unavailable, WatchdError
from bulkgpt_watchd.core.ports import Upload
from bulkgpt_watchd.core.wire import body_bytes
from tests.adapters.conftest import KEY, PassPoint, make_api, upload_of
from tests.adapters.loopback import Exchange, Loopback, Script, until

LARGE = bytes(range(256)) * 8192  # 2 MiB: more than ten blocks, and than the buffers between us and a slow reader


async def accept(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.reply(200, b'{"taskId": "task-1"}')


def is_json(body: bytes | bytearray) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


SIZES = [*range(8), *(READ_BYTES * n + more for n in (1, 2) for more in (-2, -1, 0, 1, 2))]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("most", [1 << 30, 50_000])
async def test_the_body_is_the_checked_bytes_and_as_long_as_promised(size: int, most: int) -> None:
    csv = (b"Input_1\n" + bytes(range(256)) * (size // 256 + 1))[:size]
    passing = PassPoint()
    async with Loopback(accept) as server, make_api(server.url) as api:
        assert await api.submit(upload_of(csv, most=most), passing) == "task-1"

    (exchange,) = server.exchanges
    assert exchange.request_line == "POST /upload-trigger HTTP/1.1"
    assert exchange.headers["x-api-key"] == KEY
    assert exchange.headers["content-type"] == "application/json"
    assert exchange.content_length == len(exchange.body) == body_bytes("v0#Workflow#1", size)
    assert "transfer-encoding" not in exchange.headers
    content = json.loads(exchange.body)
    assert content.keys() == {"workflowId", "csvBase64"}
    assert content["workflowId"] == "v0#Workflow#1"
    assert base64.b64decode(content["csvBase64"], validate=True) == csv
    assert passing.calls == 1


async def test_reads_of_any_length_make_the_same_body() -> None:
    csv = b"Input_1\n1\n2\n3\n4\n"
    async with Loopback(accept) as server, make_api(server.url) as api:
        for most in (1, 2, 4, 5):
            await api.submit(upload_of(csv, most=most), PassPoint())

    assert len({bytes(exchange.body) for exchange in server.exchanges}) == 1


@pytest.mark.parametrize("csv", [b"", b"Input_1\n1\n", LARGE[: READ_BYTES * 2], LARGE])
async def test_the_server_has_no_json_until_the_point_is_passed(csv: bytes) -> None:
    seen = b""

    async def look() -> None:
        nonlocal seen
        blocks_before = max(0, (len(csv) - 1) // READ_BYTES)
        expected = body_bytes("v0#Workflow#1", READ_BYTES * blocks_before) - len(b'"}')
        await until(lambda: len(server.exchanges) == 1 and len(server.exchanges[0].body) >= expected)
        await asyncio.sleep(0.05)
        seen = bytes(server.exchanges[0].body)
        assert len(seen) == expected

    async with Loopback(accept) as server, make_api(server.url) as api:
        await api.submit(upload_of(csv), PassPoint(look))

    whole = server.exchanges[0].body
    assert is_json(whole)
    assert whole.startswith(seen)
    assert not any(is_json(seen + end) for end in (b"", b'"}'[:1], b"}"))
    assert len(csv) == 0 or base64.b64decode(whole[len(seen) : -2]) == csv[-(len(csv) % READ_BYTES or READ_BYTES) :]


@pytest.mark.fault("F23", "S11")
@pytest.mark.parametrize("other", [b"Input_1\n1\n3\n", b"Input_1\n1\n", b"Input_1\n1\n2\n3\n", b"", LARGE], ids=len)
async def test_other_bytes_than_the_checked_ones_are_never_sent_whole(other: bytes, pass_point: PassPoint) -> None:
    checked = b"Input_1\n1\n2\n"
    async with Loopback(accept) as server, make_api(server.url) as api:
        with pytest.raises(SourceChanged, match="changed while it was being sent"):
            await api.submit(upload_of(checked, read=upload_of(other).read), pass_point)
        await until(lambda: server.exchanges[0].is_closed)

    assert pass_point.calls == 0
    assert not is_json(server.exchanges[0].body)


EARLY = [
    (401, b"", Denied),
    (413, b"", Refused),
    (429, b"", Unavailable),
    (500, b"", Unavailable),
    (307, b"", Denied),
    (400, b'{"error": "unknown workflow"}', Refused),
    (200, b'{"error": "unknown workflow"}', Refused),
    (200, b"what?", Unavailable),
]


@pytest.mark.parametrize(("status", "body", "error"), EARLY)
async def test_an_answer_during_the_body_ends_the_upload_for_good(
    status: int, body: bytes, error: type[WatchdError], pass_point: PassPoint
) -> None:
    async def answer_early(exchange: Exchange) -> None:
        await exchange.read(100_000)
        await exchange.reply(status, body)
        await exchange.hang()

    async with Loopback(answer_early) as server, make_api(server.url) as api:
        with pytest.raises(error):
            await api.submit(upload_of(LARGE * 8), pass_point)
        await until(lambda: server.exchanges[0].is_closed)

    assert pass_point.calls == 0
    assert not server.exchanges[0].is_whole


@pytest.mark.parametrize(("status", "body", "error"), EARLY)
@pytest.mark.parametrize("csv", [b"Input_1\n1\n", LARGE])
async def test_an_answer_during_the_pass_point_keeps_the_last_block_back(
    csv: bytes, status: int, body: bytes, error: type[WatchdError]
) -> None:
    """`pass_point` is not cut short; once it has returned, the answer is judged as one before the point."""

    async def answer_early(exchange: Exchange) -> None:
        await exchange.read(30)
        await exchange.reply(status, body)
        await exchange.hang()

    passing = PassPoint(lambda: asyncio.sleep(0.1))
    async with Loopback(answer_early) as server, make_api(server.url) as api:
        with pytest.raises(error):
            await api.submit(upload_of(csv), passing)
        await until(lambda: server.exchanges[0].is_closed)

    assert passing.has_returned or len(csv) > READ_BYTES
    assert not server.exchanges[0].is_whole


async def test_an_answer_that_has_only_begun_keeps_the_last_block_back() -> None:
    async def answer_early(exchange: Exchange) -> None:
        await exchange.read(30)
        await exchange.head(500, {"Content-Length": "100"})
        await exchange.send(b'{"error": ')
        await exchange.hang()

    passing = PassPoint(lambda: asyncio.sleep(0.1))
    async with Loopback(answer_early) as server, make_api(server.url, timeout_s=0.3) as api:
        with pytest.raises(Unavailable):
            await api.submit(upload_of(b"Input_1\n1\n"), passing)
        await until(lambda: server.exchanges[0].is_closed)

    assert passing.has_returned
    assert not server.exchanges[0].is_whole


@pytest.mark.parametrize("turns", range(4))
async def test_an_answer_in_the_very_turn_of_the_release_keeps_the_last_block_back(turns: int) -> None:
    """It is read in the turn of the loop in which `pass_point` returns, or in one of the next."""
    answered = asyncio.Event()

    async def answer_early(exchange: Exchange) -> None:
        await exchange.read(30)
        await exchange.reply(503)
        answered.set()
        await exchange.hang()

    async def wait() -> None:
        await answered.wait()
        for _ in range(turns):
            await asyncio.sleep(0)

    async with Loopback(answer_early) as server, make_api(server.url) as api:
        with pytest.raises(Unavailable):
            await api.submit(upload_of(b"Input_1\n1\n"), PassPoint(wait))
        await until(lambda: server.exchanges[0].is_closed)

    assert not server.exchanges[0].is_whole


async def test_a_connection_with_half_a_body_is_never_used_again() -> None:
    async def answer(exchange: Exchange) -> None:
        if len(server.exchanges) == 1:
            await exchange.read(30)
            await exchange.reply(429)
            await exchange.hang()
        else:
            await accept(exchange)

    async with Loopback(answer) as server, make_api(server.url) as api:
        with pytest.raises(Unavailable):
            await api.submit(upload_of(LARGE * 8), PassPoint())
        assert await api.submit(upload_of(b"Input_1\n1\n"), PassPoint()) == "task-1"

    assert [exchange.connection for exchange in server.exchanges] == [1, 2]


async def test_a_task_id_is_taken_whatever_the_code_and_the_time() -> None:
    async def answer_early(exchange: Exchange) -> None:
        await exchange.read(30)
        await exchange.reply(500, b'{"taskId": "task-7"}')
        await exchange.hang()

    async with Loopback(answer_early) as server, make_api(server.url) as api:
        assert await api.submit(upload_of(LARGE), PassPoint()) == "task-7"


@pytest.mark.fault("F7")
@pytest.mark.parametrize("is_reset", [True, False])
@pytest.mark.parametrize("after", [0, 30, 300_000])
async def test_a_connection_lost_before_the_point_is_certainly_not_accepted(
    *, is_reset: bool, after: int, pass_point: PassPoint
) -> None:
    async def lose(exchange: Exchange) -> None:
        await exchange.read(after)
        exchange.reset() if is_reset else exchange.close()

    async with Loopback(lose) as server, make_api(server.url) as api:
        with pytest.raises(Unavailable, match=r"^127\.0\.0\.1: "):
            await api.submit(upload_of(LARGE), pass_point)

    assert pass_point.calls == 0


async def test_a_connection_lost_during_the_pass_point_is_certainly_not_accepted() -> None:
    async def lose(exchange: Exchange) -> None:
        await exchange.read(30)
        exchange.close()

    passing = PassPoint(lambda: asyncio.sleep(0.1))
    async with Loopback(lose) as server, make_api(server.url) as api:
        with pytest.raises(Unavailable):
            await api.submit(upload_of(b"Input_1\n1\n"), passing)

    assert passing.has_returned


async def hang(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.hang()


async def lose(exchange: Exchange) -> None:
    await exchange.read()
    exchange.reset()


async def close(exchange: Exchange) -> None:
    await exchange.read()
    exchange.close()


async def answer_garbage(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.reply(200, b"<html>")


async def answer_deep(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.reply(200, b"[" * 200_000)


async def answer_too_much(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.head(200)
    while True:
        await exchange.send(b'{"taskId": "task-1"}' + b" " * 1_000_000)


async def answer_half(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.head(200, {"Content-Length": "100"})
    await exchange.send(b'{"taskId": ')
    exchange.close()


async def answer_and_stall(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.head(200, {"Content-Length": "100"})
    await exchange.send(b'{"taskId": ')
    await exchange.hang()


async def answer_no_http(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.send(b"220 ready\r\n\r\n")
    await exchange.hang()


async def answer_503(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.reply(503)


@pytest.mark.fault("F6")
@pytest.mark.parametrize(
    "script",
    [
        hang,
        lose,
        close,
        answer_garbage,
        answer_deep,
        answer_too_much,
        answer_half,
        answer_and_stall,
        answer_no_http,
        answer_503,
    ],
)
async def test_after_the_point_whatever_cannot_be_read_is_a_doubt(script: Script, pass_point: PassPoint) -> None:
    async with Loopback(script) as server, make_api(server.url, timeout_s=0.3, answer_timeout_s=0.3) as api:
        with pytest.raises(OutcomeUnknown) as caught:
            await api.submit(upload_of(b"Input_1\n1\n"), pass_point)

    assert pass_point.has_returned
    assert KEY not in repr(caught.value)
    assert len(str(caught.value)) < 200


async def test_a_code_says_enough_where_the_body_is_cut(pass_point: PassPoint) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.head(429, {"Content-Length": "100", "Retry-After": "7"})
        await exchange.send(b'{"error": ')
        exchange.reset()

    async with Loopback(cut) as server, make_api(server.url) as api:
        with pytest.raises(Unavailable) as caught:
            await api.submit(upload_of(b"Input_1\n1\n"), pass_point)

    assert caught.value.retry_after_s == 7


@pytest.mark.fault("F18")
async def test_a_peer_that_stops_reading_is_given_up_before_the_point(pass_point: PassPoint) -> None:
    stop = asyncio.Event()

    async def read_nothing(_exchange: Exchange) -> None:
        await stop.wait()

    async with Loopback(read_nothing) as server, make_api(server.url, timeout_s=0.3) as api:
        with pytest.raises(Unavailable, match=r"no progress for 0\.3 s"):
            await api.submit(upload_of(LARGE * 8), pass_point)
        stop.set()

    assert pass_point.calls == 0


@pytest.mark.parametrize("blocks", [2, 4, 8])
async def test_what_lies_in_our_kernel_only_has_not_arrived(blocks: int, pass_point: PassPoint) -> None:
    """A peer that is gone confirms nothing; here it is one whose buffer is full."""
    stop = asyncio.Event()

    async def read_nothing(_exchange: Exchange) -> None:
        await stop.wait()

    async with Loopback(read_nothing, buffer_bytes=4096) as server, make_api(server.url, timeout_s=0.3) as api:
        with pytest.raises(Unavailable, match=r"no progress for 0\.3 s"):
            await api.submit(upload_of(LARGE[: READ_BYTES * blocks]), pass_point)
        stop.set()

    assert pass_point.calls == 0


async def test_a_peer_that_stalls_is_left_with_its_connection(pass_point: PassPoint) -> None:
    """Each try of a submit would leave a socket and its buffer behind otherwise, for as long as the peer lives."""
    stop = asyncio.Event()

    async def read_nothing(_exchange: Exchange) -> None:
        await stop.wait()

    async with Loopback(read_nothing, buffer_bytes=4096) as server, make_api(server.url, timeout_s=0.2) as api:
        opened = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with pytest.raises(Unavailable):
                await api.submit(upload_of(LARGE), pass_point)
        assert len(os.listdir("/proc/self/fd")) == opened + 3, "those of the peer, which is in this process too"
        stop.set()


async def test_a_file_of_60_mb_is_sent_in_constant_memory(pass_point: PassPoint) -> None:
    block = bytes(range(256)) * (READ_BYTES // 256)
    count = 60_000_000 // len(block)
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(block)
    left = count

    async def read(size: int) -> bytes:
        nonlocal left
        left -= 1
        return block[:size] if left >= 0 else b""

    async def swallow(exchange: Exchange) -> None:
        for size in range(0, exchange.content_length, 1 << 20):
            del exchange.body[:]
            await exchange.read(min(1 << 20, exchange.content_length - size))
        exchange.is_closed = True
        await exchange.reply(200, b'{"taskId": "task-1"}')

    async with Loopback(swallow) as server, make_api(server.url) as api:
        tracemalloc.start()
        try:
            await api.submit(Upload("w", len(block) * count, digest.hexdigest(), read), pass_point)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak < 8_000_000


class OwnError(Exception):
    """Something that only its thrower knows."""


async def test_what_reading_raises_arrives_as_it_is(pass_point: PassPoint) -> None:
    error, blocks = OwnError("the share is gone"), [LARGE]

    async def read(size: int) -> bytes:
        if size and blocks:
            return blocks.pop()[:size]
        raise error

    async with Loopback(accept) as server, make_api(server.url) as api:
        with pytest.raises(OwnError) as caught:
            await api.submit(upload_of(LARGE, read=read), pass_point)
        await until(lambda: server.exchanges[0].is_closed)

    assert caught.value is error
    assert pass_point.calls == 0


async def test_what_the_pass_point_raises_arrives_as_it_is_and_nothing_is_sent() -> None:
    error = OwnError("over budget")

    async def refuse() -> None:
        raise error

    async with Loopback(accept) as server, make_api(server.url) as api:
        with pytest.raises(OwnError) as caught:
            await api.submit(upload_of(b"Input_1\n1\n"), PassPoint(refuse))
        await until(lambda: bool(server.exchanges) and server.exchanges[0].is_closed)

    assert caught.value is error
    assert not server.exchanges[0].is_whole


@pytest.mark.parametrize("csv", [b"Input_1\n1\n", LARGE])
async def test_a_submit_that_is_cancelled_before_the_point_sends_nothing(csv: bytes) -> None:
    passing = PassPoint(asyncio.Event().wait)

    async with Loopback(accept) as server, make_api(server.url) as api:
        submit = asyncio.create_task(api.submit(upload_of(csv), passing))
        await until(lambda: passing.calls == 1)
        submit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submit
        await until(lambda: bool(server.exchanges) and server.exchanges[0].is_closed)

    assert not passing.has_returned
    assert not server.exchanges[0].is_whole


async def test_a_connection_that_was_idle_for_a_second_is_not_used_for_a_submit() -> None:
    async with Loopback(accept) as server, make_api(server.url) as api:
        for pause_s in (0, 0.1, 1.1):
            await asyncio.sleep(pause_s)
            await api.submit(upload_of(b"Input_1\n1\n"), PassPoint())

    assert [exchange.connection for exchange in server.exchanges] == [1, 1, 2]


async def test_submits_go_side_by_side() -> None:
    async with Loopback(accept) as server, make_api(server.url) as api:
        submits = (api.submit(upload_of(LARGE + bytes([number])), PassPoint()) for number in range(8))
        assert await asyncio.gather(*submits) == ["task-1"] * 8

    assert all(is_json(exchange.body) for exchange in server.exchanges)


async def test_an_answer_that_came_while_the_machine_slept_is_read() -> None:
    """The whole process stands still, as in a suspended machine, over the answer and over the time for it."""
    is_sent, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            head, _, body = connection.recv(1 << 16).partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(body) < length:
                body += connection.recv(1 << 16)
            is_sent.set()
            time.sleep(0.2)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            connection.sendall(b'14\r\n{"taskId": "task-1"}\r\n0\r\n\r\n')
            connection.recv(1)

    server = threading.Thread(target=answer)
    server.start()
    with listener:
        async with make_api(f"http://127.0.0.1:{listener.getsockname()[1]}", answer_timeout_s=0.4) as api:
            call = asyncio.create_task(api.submit(upload_of(b"Input_1\n1\n"), PassPoint()))
            await until(is_sent.is_set)
            time.sleep(0.8)
            assert await call == "task-1"
    server.join()
