"""Who is asked, and who is told: false certificates, redirects, servers that answer before or while they are asked."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.adapters.loopback import Exchange
from tests.system.bed import Bed
from tests.system.hostile import Hostile, served
from tests.system.hostile_answers import sends
from tests.system.process import wait


@pytest.fixture
def bed(bed: Bed) -> Bed:
    bed.api |= {"timeout": "1s", "answer_timeout": "2s", "retry": {"min": "50ms", "max": "200ms"}}
    return bed


def sign(folder: Path, name: str, subject: str, days: int = 2) -> Path:
    """Let the authority of a folder sign a certificate; give the file, its key in it."""
    made = folder / f"{name}.pem"
    extensions = folder / f"{name}.extensions"
    extensions.write_text(f"subjectAltName={subject}\n")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"]
    authority, its_key = folder / "authority.pem", folder / "authority.key"
    if not authority.exists():
        usage = ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
        openssl("req", "-x509", *curve, *usage, "-days", "2", "-keyout", str(its_key), "-out", str(authority))
    key, request = folder / f"{name}.key", folder / f"{name}.request"
    openssl("req", *curve, "-keyout", str(key), "-out", str(request))
    signer = ["-CA", str(authority), "-CAkey", str(its_key), "-set_serial", "7", "-extfile", str(extensions)]
    openssl("x509", "-req", "-in", str(request), *signer, "-days", str(days), "-out", str(made))
    made.write_bytes(made.read_bytes() + key.read_bytes())
    return made


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


HERE = "IP:127.0.0.1"
CERTIFICATES = {
    "expired": (HERE, -1, "certificate has expired"),
    "for another name": ("DNS:api.bulkgpt.ai", 2, "IP address mismatch"),
    "of another authority": (HERE, 2, "unable to get local issuer certificate"),
    "TLS 1.1": (HERE, 2, "connection reset by peer"),
    "nobody who speaks": (HERE, 2, "no progress for 1 s"),
}
PLAIN = {"connection reset by peer", "no progress for 1 s"}


@pytest.mark.fault("S24", "F7")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here (apt install openssl)")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")  # the old is what is tested
@pytest.mark.parametrize("which", CERTIFICATES)
def test_who_cannot_prove_to_be_bulkgpt_gets_neither_key_nor_file(
    bed: Bed, world: Hostile, which: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    subject, days, words = CERTIFICATES[which]
    theirs, ours = tmp_path_factory.mktemp("theirs"), tmp_path_factory.mktemp("ours")
    right = sign(ours, "right", HERE)
    signer = theirs if which == "of another authority" else ours
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sign(signer, "false", subject, days))
    if which == "TLS 1.1":
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    told: list[bytes] = []

    async def hear(exchange: Exchange) -> None:
        told.append(exchange.request_line.encode())

    def is_told(reason: str) -> bool:
        [job] = bed.jobs() or [{"waits_for": None}]
        return reason in (job["waits_for"] or "")

    with ExitStack() as stack:
        if which == "nobody who speaks":
            port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        else:
            port = stack.enter_context(served(hear, tls=tls)).port
        bed.api |= {"base_url": f"https://127.0.0.1:{port}", "ca_file": str(ours / "authority.pem")}
        bed.drop("a.csv")
        daemon = bed.start()
        wait(lambda: is_told(words), words, daemon=daemon)
        wait(lambda: len(daemon.told("job.deferred")) >= 2, "it is tried again", daemon=daemon)
        shown = bed.does("jobs", "show", bed.jobs()[0]["job"])
        assert f"waits    127.0.0.1: {'its certificate is not trusted (' if words not in PLAIN else ''}{words}" in shown
        assert told == []
        assert bed.files("error") == {}
        daemon.stop()

    good = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    good.load_cert_chain(right)
    with served(world.be_api, tls=good) as true:
        bed.api["base_url"] = true.url
        bed.start()
        bed.wait_ended(1)
    assert world.paid == {"leads": 1}


@pytest.mark.fault("S15")
@pytest.mark.parametrize("code", [302, 307])
def test_a_redirect_shuts_the_gate_and_says_so(bed: Bed, world: Hostile, code: int) -> None:
    bed.api["base_url"] = world.api.url
    heard: list[Exchange] = []

    async def hear(exchange: Exchange) -> None:
        heard.append(exchange)

    with served(hear, host="127.0.0.3") as elsewhere:
        away = sends(b"HTTP/1.1 %d X\r\nLocation: %s/upload-trigger?x=y\r\n\r\n" % (code, elsewhere.url.encode()))
        world.submits["leads"] = away
        bed.drop("a.csv")
        daemon = bed.start()
        daemon.wait_for("gate.shut")
        status = bed.json("status")
        assert (status["gate"], status["state"]) == ("shut", "degraded")
        assert status["gate_reason"].startswith(
            f"HTTP {code}, a redirect to {elsewhere.url}/upload-trigger: not followed"
        )
        assert bed.files("error") == {}
        world.submits.clear()
        world.statuses["leads"] = [sends(b"HTTP/1.1 308 X\r\nLocation: %s\r\n\r\n" % elsewhere.url.encode())] * 3
        daemon.wait_for("job.done")
        assert heard == []
        assert elsewhere.connections == 0


LARGE = b"a\n" + b"x" * 999 + b"\n" + (b"y" * 999 + b"\n") * 6000
"""Six megabytes, eight as base64: more than the buffers between two processes hold."""


async def answers_at_once(exchange: Exchange) -> None:
    await exchange.reply(500)
    await exchange.read()  # politely: it is the client that breaks off


async def half(exchange: Exchange) -> None:
    await exchange.read(exchange.content_length // 2)
    exchange.reset()


async def never(_: Exchange) -> None:
    await asyncio.sleep(3600)


BEFORE = {
    "half, and a reset": (half, "127.0.0.1: connection reset by peer"),
    "hears nothing": (never, "127.0.0.1: no progress for 1 s"),
    "answers at once": (answers_at_once, "HTTP 500 with 0 bytes (no content type) that are no answer of BulkGPT"),
}


@pytest.mark.fault("F3", "F5", "S20")
@pytest.mark.parametrize("how", BEFORE)
def test_a_server_that_breaks_off_before_the_end_was_sent_has_accepted_nothing(
    bed: Bed, world: Hostile, how: str
) -> None:
    """The file waits, is told why, and is sent again by itself; another's goes on."""

    async def be_hostile(exchange: Exchange) -> None:
        is_large = exchange.request_line.startswith("POST /upload") and exchange.content_length > len(LARGE)
        await (act if is_large and not is_good else world.be_api)(exchange)

    act, words = BEFORE[how]
    is_good = False
    with served(be_hostile) as server:
        bed.api["base_url"] = server.url
        bed.route("large", csv={"max_rows": 10_000})
        bed.route("small")
        daemon = bed.start()
        bed.drop("large.csv", LARGE, "large")
        daemon.wait_for("job.deferred", route="large")
        bed.drop("small.csv", b"a\n1\n", "small")
        daemon.wait_for("job.done", route="small")
        wait(lambda: len(daemon.told("job.deferred", route="large")) >= 3, "it is tried again", daemon=daemon)
        assert {line["reason"] for line in daemon.told("job.deferred", route="large")} == {words}
        assert world.paid == {"small": 1}
        is_good = True
        daemon.wait_for("job.done", route="large")
        daemon.stop()
    assert world.paid == {"small": 1, "large": 1}
