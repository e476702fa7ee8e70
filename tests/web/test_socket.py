"""The control socket belongs to one daemon: it takes no other's place, and leaves none behind."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bulkgpt_watchd.core.errors import StateUnusable
from bulkgpt_watchd.service.wiring import open_socket
from bulkgpt_watchd.web.control import application


async def serve(stack: AsyncExitStack, path: Path, name: str = "") -> None:
    async def status() -> dict[str, Any]:
        return {"name": name}

    await open_socket(stack, application({}, status), path)


async def ask(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET /api/v1/status HTTP/1.0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


async def test_owner_and_group_may_use_it_and_nobody_else_and_it_goes_with_its_daemon(path: Path) -> None:
    async with AsyncExitStack() as stack:
        await serve(stack, path)
        assert path.stat().st_mode & 0o777 == 0o660

    assert not path.exists()


async def test_another_daemon_s_socket_is_left_to_it(path: Path) -> None:
    """Two states with one `control.socket`: the commands of the first would act on the second."""
    async with AsyncExitStack() as stack:
        await serve(stack, path, "first")
        async with AsyncExitStack() as another:
            with pytest.raises(StateUnusable, match="cannot be made: another process listens there"):
                await serve(another, path, "second")
        assert await ask(path) == b'{"name": "first"}'


async def test_one_that_does_not_answer_is_not_dead(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hangs, socket.socket(socket.AF_UNIX) as waits:
        hangs.bind(str(path))
        hangs.listen(0)
        waits.connect(str(path))
        async with AsyncExitStack() as stack:
            with pytest.raises(StateUnusable, match="another process listens there"):
                await serve(stack, path)


async def test_what_a_dead_daemon_left_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with AsyncExitStack() as stack:
        await serve(stack, path, "alive")
        assert await ask(path) == b'{"name": "alive"}'


async def test_a_file_in_its_place_is_not_ours_to_remove(path: Path) -> None:
    path.write_text("precious")
    async with AsyncExitStack() as stack:
        with pytest.raises(StateUnusable, match="cannot be made: a file that is no socket stands there"):
            await serve(stack, path)

    assert path.read_text() == "precious"


async def test_a_link_in_its_place_is_not_followed(path: Path) -> None:
    path.symlink_to("elsewhere")
    async with AsyncExitStack() as stack:
        with pytest.raises(StateUnusable, match="no socket"):
            await serve(stack, path)

    assert path.is_symlink()


async def test_what_somebody_put_in_its_place_meanwhile_stays(path: Path) -> None:
    async with AsyncExitStack() as stack:
        await serve(stack, path)
        path.unlink()
        path.write_text("another's")

    assert path.read_text() == "another's"


async def test_a_name_that_is_too_long_is_told_as_that(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(StateUnusable, match="cannot be made: AF_UNIX path too long"):
            await serve(stack, tmp_path / ("s" * 110))
