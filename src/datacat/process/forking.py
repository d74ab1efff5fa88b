"""A forked child's first use of sqlite.

What may live here: getting an outbox of its own where the fork may have broken sqlite.  What may
not: which process is whose child.
"""

from __future__ import absolute_import, division

import threading

from .. import _compat
from ..outbox.refusals import SpoolUnusable

# Of the 250 ms that a log call may take where something is broken, some are for the call itself.
CHILD_OPENS_WITHIN = 0.2


def create_in_child(spool, parent):
    """Return the store of a new outbox, made in a forked child.

    Without a hook that guards the fork (Python before 3.7), another thread of the parent may have
    been inside sqlite, whose mutexes then stay locked for ever: so it is tried in a thread.

    :param parent: the identity of the parent's outbox, or None.
    :raises SpoolUnusable: where there can be none, also where sqlite hangs.
    """
    if _compat.SUPPORTS_FORK_HOOKS:
        return spool.create(parent)
    made = []
    opening = threading.Thread(target=_try_to_create, args=(spool, parent, made))
    opening.daemon = True
    opening.start()
    opening.join(CHILD_OPENS_WITHIN)
    store = made[0] if made else SpoolUnusable("sqlite did not survive the fork")
    if isinstance(store, SpoolUnusable):
        raise store
    return store


def _try_to_create(spool, parent, made):
    try:
        made.append(spool.create(parent))
    except SpoolUnusable as error:
        made.append(error)
