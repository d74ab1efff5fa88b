"""When requests is imported: late, by the thread that has something to say to a server.

Belongs here: importing it, whether that may wait, and what a fork must know.  Does not: what is
done with it (see `exchanges`).

Theory of operation

1. Importing requests costs more than all the rest of a short run. Without a server it is not
   needed: a bare connect tells that nobody listens (see `knocking`).
2. It is imported at once where that is free, because the application has imported it, and on
   Python 3.6, which has no hooks for forks.
3. On Python 3 a child that is forked in the middle of an import inherits the locks of half
   imported modules, which nobody will release. So a fork waits for `lock()` (see `process.fork`).
   If that takes too long, the child must not import requests at all. On Python 2.7 a fork waits
   for imports by itself.
4. On Python 2.7 nobody can import while another thread is in an import. A module that opens a
   session while it is imported itself delivers when it is done; urllib3 imports as it connects,
   so that it would not do so earlier anyway.
"""

from __future__ import absolute_import, division

import os
import sys

import six

from .. import _compat
from ..locks import of_this_process

_imported = []
# {process id: its lock}.  A forked child makes its own: its parent's may be held for ever there.
_locks = {}


class _Process(object):
    """What this process knows of the import.

    is_under_way: whether a thread of the library's is in it.  is_cut_off: whether this process was
    forked in the middle of it.
    """

    is_under_way = False
    is_cut_off = False


def lock():
    """Return this process's lock, an RLock, which is held while requests is imported late."""
    return of_this_process(_locks)


def cut_off():
    """Note that this process was forked in the middle of the import, which would hang here."""
    _Process.is_cut_off = not _imported


def is_done():
    """Return whether requests has been imported for this library."""
    return bool(_imported)


def has_begun():
    """Return whether requests has been imported for this library, or is being imported."""
    return bool(_imported) or _Process.is_under_way


def is_pending():
    """Return whether requests is still to be imported, and so are those who stand in for it."""
    return not _imported and "requests" not in sys.modules


def exchanges():
    """Return the module `exchanges`, and import it, and requests with it, if it is not yet.

    It is kept, because nothing can be imported while the interpreter shuts down.

    :raises ImportError: if requests cannot be imported.
    """
    if not _imported:
        if _Process.is_cut_off:
            raise ImportError("another thread was importing it when this process was forked")
        from . import exchanges as made

        _imported.append(made)
    return _imported[0]


def exchanges_late():
    """Return what `exchanges` does; for a thread of the library's, beside a fork of another."""
    if not _imported:
        with lock():
            _Process.is_under_way = True
            try:
                exchanges()
            finally:
                _Process.is_under_way = False
    return _imported[0]


def import_unless_it_can_wait():
    """Import requests now if a thread of the library's could not do so later, or if it is free.

    To be called in the application's thread.

    :raises ImportError: if requests cannot be imported.
    """
    if not (_imported or _Process.is_cut_off or _can_wait()):
        exchanges()


def _can_wait():
    if _Process.is_under_way:
        return True
    return is_pending() and (six.PY2 or _compat.SUPPORTS_FORK_HOOKS or not hasattr(os, "fork"))
