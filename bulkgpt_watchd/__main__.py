"""Run the command line: `python -m bulkgpt_watchd`."""

from __future__ import annotations

from bulkgpt_watchd.cli import main

if __name__ == "__main__":
    main()
