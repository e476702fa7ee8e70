"""
The second origin: results behind signed links, as an object store serves them.

It notes whether it ever saw the API key, which has no business here.
"""

from __future__ import annotations

import hmac
import re
import time

from aiohttp import web

from bulkgpt_watchd.sandbox.backend import Backend
from bulkgpt_watchd.sandbox.plan import Facts
from bulkgpt_watchd.sandbox.reply import XML_ERROR, Reply, spoiled
from bulkgpt_watchd.sandbox.tasks import Task
from bulkgpt_watchd.sandbox.vocabulary import DOWNLOAD, END

_PATH = re.compile(r"/results/(\d{1,9})\.csv")


class Downloads:
    """Serve every path of the download origin."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def download(self, request: web.Request) -> web.StreamResponse:
        backend = self._backend
        backend.ledger.downloads += 1
        backend.ledger.key_seen_at_download_origin |= "x-api-key" in request.headers
        found = _PATH.fullmatch(request.path)
        task = backend.tasks.by_number(int(found[1])) if found else None
        facts = task.facts(task.progress(backend.options).word) if task else Facts()
        fault = await backend.plan.take(DOWNLOAD, END, facts)
        reply = self._ordinary(request, task)
        if fault is not None and fault.reply == "redirect" and task is not None:
            link = backend.origin_for(request) + backend.tasks.link(task, time.time() + backend.options.link_ttl_s)
            reply = Reply(302, b"", {"Location": link})
        told = f" task={task.task_id}" if task else " no such result"
        return await backend.answer(request, DOWNLOAD, spoiled(reply, fault), fault, told)

    def _ordinary(self, request: web.Request, task: Task | None) -> Reply:
        if task is None:
            return _refusal(404, "NoSuchKey", "The specified key does not exist.")
        expires, signature = request.query.get("Expires", ""), request.query.get("Signature", "")
        if not hmac.compare_digest(self._backend.tasks.signature(task.number, expires).encode(), signature.encode()):
            return _refusal(
                403, "SignatureDoesNotMatch", "The signature we calculated does not match the one you gave."
            )
        if float(expires) < time.time():
            return _refusal(403, "AccessDenied", "Request has expired")
        return Reply(200, task.result, {"Content-Type": "text/csv"})


def _refusal(http_status: int, code: str, message: str) -> Reply:
    return Reply(http_status, XML_ERROR.format(code, message).encode(), {"Content-Type": "application/xml"})
