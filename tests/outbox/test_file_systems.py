"""What other machines may have at the same time is told from what only this one has."""

from __future__ import absolute_import, division

import os
import sys

import pytest

from datacat.outbox import file_systems
from datacat.outbox.file_systems import is_local, type_at

MOUNTS = u"""\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
28 27 0:25 / /home rw shared:1 master:2 - nfs4 server:/export rw,vers=4.2
29 28 0:26 / /home/local rw - xfs /dev/vdb rw
30 27 0:27 / /media/usb\\040stick rw - vfat /dev/sdc1 rw
31 27 0:28 / /over rw - ext4 /dev/vdd rw
32 31 0:29 / /over rw - fuse.sshfs user@server:/ rw
a line that makes no sense
"""


@pytest.mark.parametrize(
    "path, expected",
    [
        ("/", "ext4"),
        ("/var/lib", "ext4"),
        ("/homely", "ext4"),
        ("/home", "nfs4"),
        ("/home/user/spool", "nfs4"),
        ("/home/local/spool", "xfs"),
        ("/media/usb stick/spool", "vfat"),
        ("/over/spool", "fuse.sshfs"),  # the later mount hides the earlier
    ],
)
def test_the_innermost_mount_tells_the_type(path, expected):
    assert type_at(path, MOUNTS) == expected


def test_without_mounts_there_is_no_type():
    assert type_at("/home", u"") is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mountinfo is Linux's")
@pytest.mark.parametrize(
    "type_, expected",
    [("ext4", True), ("tmpfs", True), ("overlay", True)]
    + [(name, False) for name in ("nfs", "nfs4", "cifs", "9p", "virtiofs", "fuse", "new", "")],
)
def test_unknown_types_and_fuse_count_as_network(type_, expected, tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(b"27 1 254:0 / / rw - %s /dev/vda rw\n" % type_.encode("ascii"))
    monkeypatch.setattr(file_systems, "_MOUNTS", str(mounts))
    assert is_local(str(tmp_path)) is expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mountinfo is Linux's")
def test_where_mounts_are_unknown_a_folder_counts_as_network(tmp_path, monkeypatch):
    monkeypatch.setattr(file_systems, "_MOUNTS", str(tmp_path / "none"))
    assert not is_local(str(tmp_path))


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no tmpfs at a known place")
def test_a_real_tmpfs_is_local_though_it_is_reached_by_a_link(tmp_path):
    os.symlink("/dev/shm", str(tmp_path / "link"))
    assert is_local("/dev/shm") and is_local(str(tmp_path / "link"))
