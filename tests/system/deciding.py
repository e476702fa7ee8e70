"""What tests of decisions share: commands that are refused, and jobs that have failed."""

from __future__ import annotations

import json

from bulkgpt_watchd.sandbox import Fault
from tests.system.bed import Bed


def refused(bed: Bed, *arguments: str, code: int = 77) -> str:
    """Run a command that must be refused; give what it says."""
    done = bed.command(*arguments, "--json")
    assert done.returncode == code, (arguments, done)
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == code
    return str(error["message"])


def fail(bed: Bed, *faults: Fault) -> str:
    """Drop a file that fails by these faults; give its job."""
    bed.sandbox.plan(*faults)
    bed.start()
    bed.drop("a.csv")
    [job] = bed.wait_ended(1)
    assert job["state"] == "failed"
    bed.sandbox.clear()
    return str(job["job"])
