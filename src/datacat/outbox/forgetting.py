"""Deleting everything that is kept for one server and product, because its user wants that.

Belongs here: which files these are, and leaving alone what a running process has.  Does not: what
this process itself has open.
"""

from __future__ import absolute_import, division

import functools
import os

from .. import errors, locks
from . import names
from .folder import inode_of_own, remove
from .ownership import has_owner
from .refusals import SpoolUnusable, StoreDamaged, StoreHeld
from .store import Store


def forget(folder, paths, scope, lock):
    """Delete the outboxes that nobody has, what lies beside them, and what was learned.

    :param folder: the folder of outboxes; it need not exist.
    :param paths: of this scope's outboxes.
    :param scope: the Scope.
    :param lock: an RLock that a fork waits for; it is held while sqlite opens a file.
    :returns: the paths of outboxes that are left, a list.
    """
    for path in paths:
        locks.run_holding(lock, functools.partial(_delete, path))
    left = [path for path in paths if os.path.exists(path)]
    for name in _listed(folder):
        path = os.path.join(folder, name)
        if _is_of(path, scope, paths) and names.outbox_of(path) not in left:
            # The mark of an end may be about a session of an outbox that is left.
            if not (left and names.is_end(name)):
                remove(path)
    return left


def _listed(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _is_of(path, scope, paths):
    """Return whether a file belongs to a scope: beside an outbox, learned, or a mark."""
    outbox = names.outbox_of(path)
    if outbox is not None:
        return outbox in paths or names.scope_of(path) == scope.key
    name = os.path.basename(path)
    is_other = names.is_learned(name) or names.is_end(name)
    return is_other and name.startswith(scope.key + ".")


def _delete(path):
    """Delete an outbox, if nobody has it and it is this user's."""
    if has_owner(path, ours=True):
        return
    try:
        inode_of_own(path)
        Store(path, as_it_is=True).delete()
    except (StoreHeld, SpoolUnusable):
        return
    except StoreDamaged:
        # Nobody has it, but sqlite makes nothing of it.
        remove(path)
    except errors.DatacatError:
        return
