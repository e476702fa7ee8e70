"""Tell where a folder lies, from what /proc/self/mountinfo says."""

from __future__ import annotations

import os
import re

from bulkgpt_watchd.core.folders import Mount

NETWORK_TYPES = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "coda", "ceph", "glusterfs"),
        *("lustre", "gpfs", "beegfs", "orangefs", "gfs2", "ocfs2"),
        *("virtiofs", "vboxsf", "vmhgfs", "prl_fs"),
    }
)
"""
Types that others may write to without this kernel seeing it: no inotify events, stale attributes, no safe SQLite.

Every FUSE file system counts too: what is behind one is unknown.
"""


def parse_mountinfo(content: bytes, real_path: str) -> Mount:
    """
    Find the mount that a path lies on.

    Shape: one line per mount: ID, parent, device, root, mount point, options, optional fields, `-`, type, source,
        options. The longest mount point wins; of mounts over one another the last.
    Source: proc(5).
    """
    best = Mount("/", "unknown", is_network=False)
    for line in content.splitlines():
        left, _, right = line.partition(b" - ")
        point = os.fsdecode(_unescape(left.split(b" ")[4]))
        fstype = os.fsdecode(right.split(b" ")[0])
        if len(point) >= len(best.point) and (real_path + "/").startswith(point.rstrip("/") + "/"):
            best = Mount(point, fstype, is_network=fstype in NETWORK_TYPES or fstype.startswith("fuse"))
    return best


def _unescape(point: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), point)
