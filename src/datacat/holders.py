"""Who still has a session in hand, so that what nobody has can be forgotten.

What may live here: `Holders`.  What may not: what is forgotten, and when.
"""
from __future__ import absolute_import, division

import collections
import weakref


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
        self._references[name] = weakref.ref(thing, lambda _: note(name))

    @property
    def have_gone(self):
        """Whether something has gone and was not dropped yet."""
        return bool(self._gone)

    def drop_gone(self, drop):
        """Ask `drop(name)`, once for each that has gone, whether it may be forgotten."""
        for _ in range(len(self._gone)):
            name = self._gone.popleft()
            if drop(name):
                del self._references[name]
            else:
                self._gone.append(name)
