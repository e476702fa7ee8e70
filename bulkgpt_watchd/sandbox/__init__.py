"""A local BulkGPT for the demo, for tests and for trying things; it imports nothing else of ours."""

from __future__ import annotations

from bulkgpt_watchd.sandbox.answer import answer
from bulkgpt_watchd.sandbox.fault import Fault, WrongFault
from bulkgpt_watchd.sandbox.ledger import Record
from bulkgpt_watchd.sandbox.options import SandboxOptions
from bulkgpt_watchd.sandbox.server import Sandbox

__all__ = ["Fault", "Record", "Sandbox", "SandboxOptions", "WrongFault", "answer"]
