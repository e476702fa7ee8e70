"""Remove what `keep.archive` says from the archive: originals and receipts of our own jobs, and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bulkgpt_watchd.core.errors import SourceVanished
from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.ports import Folders
from bulkgpt_watchd.effects.handover import RECEIPT, is_of


def clear(folders: Folders, job: Job) -> None:
    """
    Remove a delivered job's original and its receipt.

    The receipt says whose the pair of names is: without it, or with another job's, nothing is removed; nor is what
    somebody put in the original's place.
    Errors: InUse, DiskTrouble.
    Repeat: yes; the receipt goes last.
    """
    if job.archive_path is None:
        return
    original, receipt = Path(job.archive_path), Path(job.archive_path + RECEIPT)
    present = folders.read_small(receipt)
    if present is not None and is_of(job, present) and _is_original_or_gone(folders, job, original):
        folders.remove(original)
        folders.remove(receipt)


def _is_original_or_gone(folders: Folders, job: Job, path: Path) -> bool:
    if not folders.exists(path):
        return True
    digest = hashlib.sha256()
    try:
        for block in folders.read_blocks(path.parent, path.name):
            digest.update(block)
    except SourceVanished:  # a folder, a link
        return False
    return job.sha256 in {digest.hexdigest(), None}  # None: it was sent by a state that is lost
