"""
BulkGPT's two calls.

Source: README of nowork-studio/bulkgpt-api-example (ecfea69): shapes, status words and the two error texts. The HTTP
codes of errors are not documented there.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from aiohttp import web

from bulkgpt_watchd.sandbox.answer import AnswerReader
from bulkgpt_watchd.sandbox.backend import Backend
from bulkgpt_watchd.sandbox.body import Upload, UploadBody, WrongBody
from bulkgpt_watchd.sandbox.fault import Fault
from bulkgpt_watchd.sandbox.intake import Intake
from bulkgpt_watchd.sandbox.ledger import Record
from bulkgpt_watchd.sandbox.plan import Facts
from bulkgpt_watchd.sandbox.reply import Reply, json_reply, spoiled
from bulkgpt_watchd.sandbox.spool import SMALL_BYTES, Stored
from bulkgpt_watchd.sandbox.tasks import Progress, Task
from bulkgpt_watchd.sandbox.vocabulary import END, STATUS, SUBMIT

_BLOCK_BYTES = 1 << 20
"""Of a large body, given to a thread at once: a hop costs 13 to 82 µs, decoding and hashing so much about 3 ms."""

_STATUS_BODY_BYTES = 1 << 20
"""More than any status call needs."""

_FIRST_ROW_BYTES = 200
"""Enough to tell files apart, and 10,000 records stay small."""

_EXPIRED_BY_S = 60.0
"""How long ago a link that a fault made expired has ended."""


class Api:
    """Serve /upload-trigger and /status."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def upload_trigger(self, request: web.Request) -> web.StreamResponse:
        ledger = self._backend.ledger
        record = ledger.open(Record(at=time.time(), content_length=request.content_length))
        body = _UploadFeed(UploadBody(self._backend.spool, self._backend.options.max_upload_bytes), record)
        intake = Intake(self._backend, request, SUBMIT, body.feed)
        try:
            fault = await intake.read()
        except (ConnectionError, web.RequestPayloadError):
            record.reason = "the connection broke before the whole body came"
            ledger.settle(record)
            self._backend.report(f"{SUBMIT} broken after {record.body_bytes} bytes")
            return web.Response()
        record.whole = intake.whole
        if fault is None:
            return await self._submit(request, record, await body.finish())
        record.reason = "a planned fault came before the whole body"
        return await self._settle(request, record, Reply(200, b""), fault)

    async def _submit(self, request: web.Request, record: Record, upload: Upload | WrongBody) -> web.StreamResponse:
        backend = self._backend
        facts = Facts()
        if isinstance(upload, Upload):
            record.workflow_id, record.sha256, record.csv_bytes = upload.workflow_id, upload.sha256, upload.csv_bytes
            facts = Facts(workflow_id=upload.workflow_id, sha256=upload.sha256, csv=upload.csv)
        fault = await backend.plan.take(SUBMIT, END, facts)
        refusal = self._refusal(request, record, upload)
        if refusal is None and fault is not None and not fault.accepts:
            record.reason = "a planned fault"
            refusal = self._wrong_upload()
        if refusal is not None or isinstance(upload, WrongBody):
            return await self._settle(request, record, refusal or self._wrong_upload(), fault)
        result = await _work(upload.csv, fault)
        # From here to the settled record nothing is awaited: what is accepted is in the ledger, and nothing else is.
        task = Task(
            number=backend.tasks.next_number,
            task_id=backend.tasks.new_id(fault.task_id if fault else None),
            workflow_id=upload.workflow_id,
            sha256=upload.sha256,
            csv=upload.csv,
            result=result.stored,
            rows=result.rows,
            rows_failed=min(result.rows, fault.failed_rows if fault else 0),
            end=(fault.task_end if fault else None) or "completed",
            accepted_s=time.monotonic(),
        )
        backend.tasks.add(task)
        record.accepted, record.task_id, record.rows = True, task.task_id, task.rows
        record.first_row = result.first_row[:_FIRST_ROW_BYTES].decode(errors="replace")
        return await self._settle(request, record, json_reply(200, _changed({"taskId": task.task_id}, fault)), fault)

    async def _settle(
        self, request: web.Request, record: Record, ordinary: Reply, fault: Fault | None
    ) -> web.StreamResponse:
        reply = spoiled(ordinary, fault)
        if fault is not None:
            record.fault = str(fault)
        if fault is None or not (fault.reset or fault.hang):
            record.http_status = reply.http_status
        self._backend.ledger.settle(record)
        told = (
            f" accepted task={record.task_id} rows={record.rows}"
            if record.accepted
            else f" not accepted: {record.reason}"
        )
        return await self._backend.answer(request, SUBMIT, reply, fault, f"{told} bytes={record.csv_bytes}")

    def _refusal(self, request: web.Request, record: Record, upload: Upload | WrongBody) -> Reply | None:
        options = self._backend.options
        if reply := self._wrong_key(request):
            record.reason = "wrong key"
            return reply
        if isinstance(upload, WrongBody):
            record.reason = str(upload)
            return self._wrong_upload()
        if options.max_upload_bytes is not None and upload.csv_bytes > options.max_upload_bytes:
            record.reason = "too large"
            return json_reply(413, {"error": "CSV file is too large."})
        if options.workflows is not None and upload.workflow_id not in options.workflows:
            record.reason = "unknown workflow"
            return self._wrong_upload()
        return None

    def _wrong_key(self, request: web.Request) -> Reply | None:
        if request.headers.get("x-api-key") == self._backend.options.key:
            return None
        return json_reply(401, {"error": "Invalid API key."})

    def _wrong_upload(self) -> Reply:
        return json_reply(self._backend.options.refusal_http_status, {"error": "Invalid workflow ID or CSV file."})

    async def status(self, request: web.Request) -> web.StreamResponse:
        backend = self._backend
        backend.ledger.status_calls += 1
        body = bytearray()

        async def feed(block: bytes) -> None:
            body.extend(block[: _STATUS_BODY_BYTES - len(body)])

        try:
            fault = await Intake(backend, request, STATUS, feed).read()
        except (ConnectionError, web.RequestPayloadError):
            return web.Response()
        if fault is not None:
            return await backend.answer(request, STATUS, spoiled(Reply(200, b""), fault), fault, "")
        task = backend.tasks.by_id(_task_id(body))
        if task is None:
            fault = await backend.plan.take(STATUS, END, Facts())
            reply = self._wrong_key(request) or json_reply(
                backend.options.refusal_http_status, {"error": "Invalid Task ID."}
            )
            return await backend.answer(request, STATUS, spoiled(reply, fault), fault, " no such task")
        progress = task.progress(backend.options)
        fault = await backend.plan.take(STATUS, END, task.facts(progress.word))
        document = {"status": _changed(self._inner(request, task, progress, fault), fault)}
        reply = self._wrong_key(request) or json_reply(200, document)
        told = f" {progress.word} {progress.rows}/{task.rows} task={task.task_id}"
        return await backend.answer(request, STATUS, spoiled(reply, fault), fault, told)

    def _inner(self, request: web.Request, task: Task, progress: Progress, fault: Fault | None) -> dict[str, Any]:
        inner: dict[str, Any] = {"status": progress.word}
        if progress.word != "preparing":
            inner["numOfTasksCompleted"] = progress.rows
            inner["numOfTaskSuccess"] = max(0, progress.rows - task.rows_failed)
            inner["totalNumOfTasks"] = task.rows
        if progress.word == "completed":
            link = fault.link if fault else None
            lives_s = -_EXPIRED_BY_S if link == "expired" else self._backend.options.link_ttl_s
            url = self._backend.origin_for(request) + self._backend.tasks.link(task, time.time() + lives_s)
            inner["downloadUrl"] = url + "0" if link == "forged" else url
        return inner


class _UploadFeed:
    """Give a body to UploadBody: what is small at once, what is large in a thread; read on after a mistake."""

    def __init__(self, body: UploadBody, record: Record) -> None:
        self._body = body
        self._record = record
        self._waiting = bytearray()
        self._wrong: WrongBody | None = None

    async def feed(self, block: bytes) -> None:
        self._record.body_bytes += len(block)
        self._waiting += block
        if len(self._waiting) >= _BLOCK_BYTES:
            await self._flush()

    async def finish(self) -> Upload | WrongBody:
        await self._flush()
        try:
            return self._wrong or self._body.finish()
        except WrongBody as wrong:
            return wrong

    async def _flush(self) -> None:
        block, self._waiting = bytes(self._waiting), bytearray()
        try:
            if self._wrong is None and len(block) > SMALL_BYTES:
                await asyncio.to_thread(self._body.feed, block)
            elif self._wrong is None:
                self._body.feed(block)
        except WrongBody as wrong:
            self._wrong = wrong


class _Result:
    """The answer to a CSV, in the spool."""

    def __init__(self, csv: Stored, fault: Fault | None) -> None:
        reader = AnswerReader(
            csv.open(),
            rows_failed=fault.failed_rows if fault else 0,
            rows_missing=fault.rows_missing if fault else 0,
            rows_extra=fault.rows_extra if fault else 0,
        )
        self.stored = csv.beside(reader)
        self.rows, self.first_row = reader.rows, reader.first_row


async def _work(csv: Stored, fault: Fault | None) -> _Result:
    return await asyncio.to_thread(_Result, csv, fault) if csv.size_bytes > SMALL_BYTES else _Result(csv, fault)


def _changed(document: dict[str, Any], fault: Fault | None) -> dict[str, Any]:
    if fault is None:
        return document
    return {key: value for key, value in {**document, **fault.replace}.items() if key not in fault.omit}


def _task_id(body: bytes | bytearray) -> object:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document.get("taskId") if isinstance(document, dict) else None
