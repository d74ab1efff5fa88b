"""A stand-in for a store when no file can be had.

Belongs here: refusing what a Store would do.  Does not: looking for a usable folder (see `spool`).
"""

from __future__ import absolute_import, division

from .refusals import StoreRefused

IN_MEMORY = ":memory:"


class NoStore(object):
    """Stands in for a Store when no file can be had: it refuses every write.

    :param reason: why there is no file.
    :param is_final: whether not to try again for a file, because sqlite itself is unusable.
    """

    path = IN_MEMORY
    is_in_memory = True
    opening_seconds = 0.0

    def __init__(self, reason, is_final=False):
        self.reason = StoreRefused(
            "records wait in memory only, and are lost when the process ends: %s" % reason
        )
        self.is_final = is_final

    def _refuse(self, *_, **__):
        # A new one each time: a raised error keeps its frames alive.
        raise StoreRefused(self.reason.message)

    add_session = insert = insert_all = save = settle_all = forget_session = forget_dead = _refuse
    note = checkpoint = restart_log = outline = last_number = salvage = _refuse

    def _nothing(self, *_):
        return None

    state = close = delete = abandon = _nothing

    def entries(self):
        """Return no sessions."""
        return []

    dead_letters = entries

    def page(self, *_):
        """Return no records, and none that are damaged."""
        return [], []

    def notes(self):
        """Return no notes."""
        return {}

    heads = notes

    def size(self):
        """Return 0."""
        return 0

    last_session = size
