"""The folder of outboxes and the files in it: private to this user, and surviving a power cut.

Belongs here: making them, their permissions and owners.  Does not: which files are whose (see
`spool`), SQL.
"""

from __future__ import absolute_import, division

import errno
import os
import stat

from . import names
from .refusals import SpoolUnusable

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_READ_AT_ONCE = 1024 * 1024


def default_folder():
    """Return the default folder, in the user's state folder; None if the user has no home."""
    # Imported late: it takes a quarter of what a run without a server imports.
    import platformdirs

    try:
        folder = platformdirs.user_state_dir("datacat", appauthor=False)
    except RuntimeError:
        return None
    # Without a home, `~` stays in it.
    return os.path.join(folder, "spool") if os.path.isabs(folder) else None


def prepare(folder):
    """Make the folder if it is missing, and make sure that it is private to this user.

    :param folder: its path, or None if there is none.
    :raises SpoolUnusable: if that is not possible.
    """
    if folder is None:
        raise SpoolUnusable(
            "this user has no home directory; pass spool_dir= or set DATACAT_SPOOL_DIR"
        )
    try:
        if not os.path.isdir(folder):
            _make_folder(os.path.abspath(folder))
        found = os.lstat(folder)
    except OSError as error:
        raise SpoolUnusable(
            "cannot make the folder %s: %s; pass spool_dir= or set DATACAT_SPOOL_DIR"
            % (folder, error)
        )
    if stat.S_ISLNK(found.st_mode):
        raise SpoolUnusable(
            "the folder %s is a symbolic link; pass the folder itself as spool_dir=" % folder
        )
    _refuse_owner(folder, found)
    if os.name == "posix" and stat.S_IMODE(found.st_mode) != FOLDER_MODE:
        _make_private(folder, stat.S_IMODE(found.st_mode))


def _make_private(folder, mode):
    """Make a folder private if it contains nothing but outboxes.

    One with other files keeps its mode, because others may be meant to read them.  But if others
    may write there, they could replace an outbox.
    """
    try:
        if all(names.is_ours(name) for name in _listed(folder, mode)):
            os.chmod(folder, FOLDER_MODE)
            return
    except OSError as error:
        raise SpoolUnusable(
            "cannot make the folder %s private: %s; pass a writable folder as spool_dir="
            % (folder, error)
        )
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SpoolUnusable(
            "the folder %s is writable by other users and contains other files; pass a folder "
            "of its own as spool_dir=" % folder
        )


def _listed(folder, mode):
    """Return the names in a folder of this user's, even if its mode forbids that (0300)."""
    try:
        return os.listdir(folder)
    except OSError as error:
        if error.errno != errno.EACCES:
            raise
    os.chmod(folder, mode | stat.S_IRWXU)
    return os.listdir(folder)


def _make_folder(path):
    """Make a folder and its missing parents, private to this user; survives a power cut."""
    parent = os.path.dirname(path)
    if parent != path and not os.path.isdir(parent):
        _make_folder(parent)
    try:
        os.mkdir(path, FOLDER_MODE)
        os.chmod(path, FOLDER_MODE)
    except OSError as error:
        # Another process that starts at the same time makes it too.
        if error.errno != errno.EEXIST or not os.path.isdir(path):
            raise
    _sync_folder(parent)


def _sync_folder(folder):
    """Make the names in a folder survive a power cut, if the system supports that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def create_private_file(path):
    """Make an empty file that only this user may read, whatever the umask."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, FILE_MODE)
    try:
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, FILE_MODE)
    finally:
        os.close(descriptor)


def inode_of_own(path):
    """Return the inode of a regular file of this user.

    :raises SpoolUnusable: if it is something else.
    """
    try:
        found = os.lstat(path)
    except OSError as error:
        raise SpoolUnusable("cannot read %s: %s" % (path, error))
    if not stat.S_ISREG(found.st_mode):
        raise SpoolUnusable("%s is not a regular file" % path)
    _refuse_owner(path, found)
    return found.st_ino


def _refuse_owner(path, found):
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        raise SpoolUnusable(
            "%s belongs to another user (%s), and this process runs as %s: pass a folder of this "
            "user's own as spool_dir=, or have its owner give it to this user (chown)"
            % (path, _user(found.st_uid), _user(os.getuid()))
        )


def _user(number):
    try:
        import pwd

        return "%s, uid %d" % (pwd.getpwuid(number).pw_name, number)
    except (ImportError, KeyError):
        return "uid %d" % number


def read_through(path):
    """Read an outbox and its log to their ends, to see whether the disk can.

    Only while this process has no connection to it: closing a file drops sqlite's lock on it.
    """
    for name in (path, path + "-wal"):
        if os.path.exists(name):
            with open(name, "rb") as stream:
                while stream.read(_READ_AT_ONCE):
                    pass


def remove(path):
    """Remove a file; harmless if it is not there or cannot be removed."""
    try:
        os.remove(path)
    except OSError:
        pass


def remove_older(folder, is_one, seconds, now):
    """Remove files that were last written longer ago than that; harmless if it cannot be done.

    :param is_one: a callable (name) that tells whether a file is one of them.
    :param seconds: how old they may be.
    :param now: seconds since the epoch.
    """
    try:
        for name in filter(is_one, os.listdir(folder)):
            path = os.path.join(folder, name)
            if now - os.stat(path).st_mtime > seconds:
                remove(path)
    except OSError:
        pass
