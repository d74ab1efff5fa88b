"""Who still has a session in hand, so that what nobody has can be forgotten.

What may live here: `Holders`.  What may not: what is forgotten, and when.
"""

from __future__ import absolute_import, division

import collections
import weakref

from .._compat import monotonic

# What goes together with others may still be used by their finalizers, for a moment.
LAST_USE_SECONDS = 1.0


class Holders(object):
    """Knows of things by a name whether somebody still refers to them.

    A thing goes whenever Python collects it, inside any line of any thread: nothing is done then
    but noting its name, without a lock.
    """

    def __init__(self):
        self._references = {}
        self._gone = collections.deque()

    def add(self, name, thing):
        """Note from now on when `thing` goes."""
        note = self._gone.append
        self._references[name] = weakref.ref(thing, lambda _: note((monotonic(), name)))

    @property
    def have_gone(self):
        """Whether something has gone and was not dropped yet."""
        return bool(self._gone)

    def drop_gone(self, now, drop):
        """Ask `drop(name)`, once for each that has gone for a while, whether it may be forgotten.

        :param now: monotonic seconds.
        """
        for _ in range(len(self._gone)):
            at, name = self._gone.popleft()
            if now - at >= LAST_USE_SECONDS and drop(name):
                del self._references[name]
            else:
                self._gone.append((at, name))
