"""Name the exit codes of commands and of answers to them, each once (contract: commands)."""

from __future__ import annotations

FAILED = 1
BAD_ARGUMENTS = 2
SOME_FAILED = 10
HELD = 11
LOCKED = 12
NO_SUCH = 66
NOT_RUNNING = 69
STATE_TROUBLE = 74
REFUSED = 77
CONFIG_WRONG = 78
