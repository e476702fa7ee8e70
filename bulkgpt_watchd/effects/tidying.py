"""Remove what `keep.archive` says from the archive: originals and receipts of our own jobs, and nothing else."""

from __future__ import annotations

from pathlib import Path

from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.ports import Folders
from bulkgpt_watchd.effects.handover import RECEIPT, is_of


def clear(folders: Folders, job: Job) -> bool:
    """
    Remove a delivered job's original and its receipt; tell whether they were there.

    The receipt says whose the pair of names is: without it, or with another job's, nothing is removed.
    Errors: InUse, DiskTrouble.
    Repeat: yes; the receipt goes last.
    """
    if job.archive_path is None:
        return False
    original, receipt = Path(job.archive_path), Path(job.archive_path + RECEIPT)
    present = folders.read_small(receipt)
    if present is None or not is_of(job, present):
        return False
    folders.remove(original)
    folders.remove(receipt)
    return True
