"""Whether other machines may have the same files: on a network file system they may.

Belongs here: finding that out.  Does not: what follows from it.
"""

from __future__ import absolute_import, division

import os
import re
import sys

# Whatever is not named counts as a network file system, and so does FUSE, which may be one.
_LOCAL = frozenset(
    "aufs apfs bcachefs btrfs erofs exfat ext2 ext3 ext4 f2fs hfs hfsplus jffs2 jfs minix msdos"
    " nilfs2 ntfs ntfs3 overlay overlayfs ramfs reiserfs rootfs tmpfs ubifs udf ufs vfat xfs"
    " zfs".split()
)
_MOUNTS = "/proc/self/mountinfo"
_LONGEST = 1024 * 1024
_WINDOWS_LOCAL = (2, 3, 6)  # removable, fixed and RAM disks
# struct statfs of macOS (statfs(2)): f_fstypename, 16 characters.
_MACOS_TYPE, _MACOS_SIZE = slice(72, 88), 4096

_escaped = re.compile(r"\\([0-7]{3})")


def is_local(folder):
    """Return whether only this machine has a folder; False if that is unknown."""
    if sys.platform == "win32":
        return _windows_drive_type(folder) in _WINDOWS_LOCAL
    if sys.platform == "darwin":
        return _macos_type(folder) in _LOCAL
    try:
        descriptor = os.open(_MOUNTS, os.O_RDONLY)
    except OSError:
        return False
    try:
        mounts = b"".join(iter(lambda: os.read(descriptor, _LONGEST), b""))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return type_at(os.path.realpath(folder), mounts.decode("utf-8", "replace")) in _LOCAL


def type_at(path, mounts):
    """Return the type of the file system that a path is on, or None.

    :param path: absolute, without links.
    :param mounts: the text of /proc/self/mountinfo (proc(5)).
    """
    found, longest = None, -1
    for line in mounts.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = _escaped.sub(lambda match: chr(int(match.group(1), 8)), fields[4])
        inside = point.rstrip("/") + "/"
        # The last one of several mounts on the same point is the one that is seen.
        if (path + "/").startswith(inside) and len(inside) >= longest:
            found, longest = after.split(" ")[0], len(inside)
    return found


def _windows_drive_type(folder):
    import ctypes

    drive = os.path.splitdrive(os.path.abspath(folder))[0]
    return ctypes.windll.kernel32.GetDriveTypeW(u"%s\\" % drive)


def _macos_type(folder):
    import ctypes

    libc, answer = ctypes.CDLL(None), ctypes.create_string_buffer(_MACOS_SIZE)
    # On Intel, the one with 64-bit inodes has another name.
    statfs = getattr(libc, "statfs$INODE64", None) or libc.statfs
    if statfs(os.fsencode(folder), answer) != 0:
        return None
    return answer.raw[_MACOS_TYPE].split(b"\0")[0].decode("ascii", "replace")
