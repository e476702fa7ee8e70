"""Touch the files of users: the only package that does (see `core.folders.Folders`)."""

from __future__ import annotations

from bulkgpt_watchd.adapters.folders.claim import Claiming
from bulkgpt_watchd.adapters.folders.kernel import Kernel
from bulkgpt_watchd.adapters.folders.look import Looking
from bulkgpt_watchd.adapters.folders.moving import Moving
from bulkgpt_watchd.adapters.folders.places import Places

__all__ = ["Kernel", "LocalFolders"]


class LocalFolders(Looking, Claiming, Moving, Places):
    """
    Do all that `core.folders.Folders` asks for, by the calls of *kernel*.

    Every call blocks, keeps nothing, and may be made from any thread. Every path is a real one: no symbolic link in it.
    """
