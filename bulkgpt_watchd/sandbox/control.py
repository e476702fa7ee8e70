"""The calls under /_sandbox: plan faults while it runs, and read the ledger; without a key, for this is a toy."""

from __future__ import annotations

import json

from aiohttp import web

from bulkgpt_watchd.sandbox.backend import Backend
from bulkgpt_watchd.sandbox.fault import WrongFault, fault_from


class Control:
    """Serve /_sandbox/plan and /_sandbox/ledger."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def add_faults(self, request: web.Request) -> web.StreamResponse:
        """Add one fault or a list of them: all, or none if one is wrong."""
        try:
            document = json.loads(await request.read())
            mappings = document if isinstance(document, list) else [document]
            if not all(isinstance(mapping, dict) for mapping in mappings):
                raise ValueError("it takes one fault as an object, or a list of them")
            faults = [fault_from(mapping) for mapping in mappings]
        except (WrongFault, ValueError, RecursionError) as error:
            return web.json_response({"error": f"wrong fault: {error}"}, status=400)
        self._backend.plan.add(*faults)
        return web.json_response({"planned": len(faults)})

    async def list_faults(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self._backend.plan.as_list())

    async def clear_faults(self, _: web.Request) -> web.StreamResponse:
        self._backend.plan.clear()
        return web.json_response({"planned": 0})

    async def read_ledger(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self._backend.ledger.as_dict())
