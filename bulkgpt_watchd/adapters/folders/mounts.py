"""Tell where a folder lies, from what /proc/self/mountinfo says."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

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
        options. The longest mount point wins; of mounts over one another the last. One that shows what would be seen
        without it (systemd mounts each of ReadWritePaths= over itself) does not count: a unit that allows more, or
        less, moves no folder.
    Source: proc(5).
    """
    around = [line for line in map(_Line.of, content.splitlines()) if line.holds(real_path)]
    if not around:
        return Mount("/", "unknown", is_network=False)
    best = max(reversed(around), key=lambda line: len(line.point))  # of equals the last
    mount = min((line for line in around if line.shows(best)), key=lambda line: len(line.point))
    is_network = mount.fstype in NETWORK_TYPES or mount.fstype.startswith("fuse")
    return Mount(mount.point, mount.fstype, is_network=is_network)


class _Line(NamedTuple):
    device: bytes
    root: str
    point: str
    fstype: str

    @classmethod
    def of(cls, line: bytes) -> _Line:
        left, _, right = line.partition(b" - ")
        _, _, device, root, point, *_ = left.split(b" ")
        return cls(device, _unescape(root), _unescape(point), os.fsdecode(right.split(b" ")[0]))

    def holds(self, path: str) -> bool:
        return (path + "/").startswith(self.point.rstrip("/") + "/")

    def shows(self, other: _Line) -> bool:
        """Tell whether this mount has at the other's mount point what the other one shows there."""
        if self.device != other.device or not self.holds(other.point):
            return False
        if self.point == other.point:
            return self.root == other.root
        return os.path.join(self.root, os.path.relpath(other.point, self.point)) == other.root


def _unescape(path: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), path))
