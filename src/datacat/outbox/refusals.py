"""Why a file or a folder cannot be used: one class for each reason that is handled differently.

Belongs here: classes only.
"""

from __future__ import absolute_import, division

from .. import errors


class StoreHeld(errors.DatacatError):
    """Another process (or this one) has the file open."""

    retriable = True


class StoreDamaged(errors.DatacatError):
    """The file is not a sqlite database, or is malformed."""


class StoreDetached(errors.DatacatError):
    """Another part of this process closed the descriptors of the file, which is intact."""

    retriable = True


class StoreTooNew(errors.DatacatError):
    """The file was written by a newer datacat; it is left alone."""


class NumberTaken(errors.DatacatError):
    """The session already has a record of this number."""


class StoreRefused(errors.DatacatError):
    """The disk cannot be written or read: full, read-only, an I/O error."""

    retriable = True


class SpoolUnusable(errors.DatacatError):
    """The folder cannot be used: no permission, read-only, a symlink, another user's."""
