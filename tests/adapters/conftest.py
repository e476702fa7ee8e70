"""What the tests of the API's adapter share."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bulkgpt_watchd.adapters.api import DownloadRules, HttpApi
from bulkgpt_watchd.adapters.clock import SystemClock
from bulkgpt_watchd.core.ports import Upload

KEY = "bulkgpt-key-0123456789"
EVERYTHING = DownloadRules(hosts=None, allow_private=True, allow_http=True, max_bytes=1_000_000)


def make_api(base_url: str, **changes: Any) -> HttpApi:
    """Make an adapter that waits no longer than a test wants to."""
    settings: dict[str, Any] = {
        "read_key": lambda: KEY,
        "timeout_s": 5,
        "answer_timeout_s": 5,
        "download": EVERYTHING,
        "clock": SystemClock(),
    }
    return HttpApi(base_url=base_url, **(settings | changes))


def upload_of(csv: bytes, *, read: Callable[[int], Awaitable[bytes]] | None = None, most: int = 1 << 30) -> Upload:
    """Describe *csv*; *read* gives other bytes than the checked ones; *most* makes each block so short."""
    sent = 0

    async def read_csv(size: int) -> bytes:
        nonlocal sent
        block = csv[sent : sent + min(size, most)]
        sent += len(block)
        return block

    return Upload("v0#Workflow#1", len(csv), hashlib.sha256(csv).hexdigest(), read or read_csv)


class PassPoint:
    """Be a pass point that counts its calls and takes its time."""

    def __init__(self, action: Callable[[], Awaitable[object]] | None = None) -> None:
        self.calls = 0
        self.has_returned = False
        self._action = action

    async def __call__(self) -> None:
        self.calls += 1
        if self._action is not None:
            await self._action()
        self.has_returned = True


@pytest.fixture
def pass_point() -> PassPoint:
    return PassPoint()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Give a certificate for 127.0.0.1 that vouches for itself, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=loopback"
    extensions = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *extensions, *files], check=True, capture_output=True)
    certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    return certificate
