"""
Submit dropped CSV files to BulkGPT and bring their results back.

Control flow goes cli → service → scheduler → effects → adapters.
"""

from __future__ import annotations

__version__ = "0.1.0"
