"""Wire the daemon together, and own every start and stop."""

from __future__ import annotations

from bulkgpt_watchd.service.daemon import Service

__all__ = ["Service"]
