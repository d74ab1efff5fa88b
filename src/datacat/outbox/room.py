"""Dropping records when an outbox grows over its bound.

Belongs here: noticing that the bound is passed, and carrying out the sacrifice.  Does not: the
bounds themselves and the order of sacrifice (see `bounds`, and `memory` for records in memory).
The caller has the outbox's lock.
"""

from __future__ import absolute_import, division

import os
import time

from .. import errors
from . import bounds, quarantine
from .disk import HEALTHY
from .memory import ROOM_AFTER_SACRIFICE
from .names import scope_of

_STEP_TO_RESERVE = bounds.LEAST_WITH_RESERVE // 4


class Room(object):
    """The room that one outbox may take, on disk and in memory.

    :ivar left: bytes of records that may still be written before the file must be measured.
        Writers subtract; below zero, measure again.
    :param disk: the Disk.
    :param max_bytes: how large the whole spool may grow.
    :param entries: a callable that returns the sessions' entries, oldest first.
    :param heads: the Heads, which must read a session's records anew after a sacrifice.
    :param losses: the Losses, for records that were dropped.
    """

    def __init__(self, disk, max_bytes, entries, heads, losses):
        self.left = -1
        self._disk = disk
        self._max_bytes = self._share = max_bytes
        self._entries = entries
        self._heads = heads
        self._losses = losses
        self._sweep = bounds.Sweep()

    def measure_spool(self):
        """See how much room the other outboxes leave; the caller need not have the lock."""
        self._share = bounds.share(self._disk.path, self._max_bytes)

    def make(self):
        """Sacrifice a little if that is due; return whether there may be more to sacrifice.

        A little at a time: this happens in a log call, and the next one continues.
        """
        try:
            if self._disk.state is not HEALTHY:
                if self._disk.memory.is_full:
                    self._make_in_memory()
            else:
                excess = self._excess()
                return excess > 0 and (self._clear() or self._make_on_disk(excess))
        except (errors.DatacatError, MemoryError):
            pass  # the next insert or settle meets the same error, and handles it
        return False

    def _excess(self):
        size = self._disk.store.size()
        # On disk a record may take twice its weight; and measure again halfway.
        self.left = max(0, self._share - size) // 4
        if not self._disk.has_reserve and not bounds.is_disk_nearly_full(self._disk.path):
            # Not left to the keeper: the disk may be full before it comes.
            self._disk.keep_reserve(size)
            self.left = min(self.left, _STEP_TO_RESERVE)
        return size - int(self._share * ROOM_AFTER_SACRIFICE)

    def _clear(self):
        """Remove damaged outboxes that were kept, before records go; return whether any were."""
        folder, name = os.path.split(self._disk.path)
        if not quarantine.prune(folder, scope_of(name), time.time(), most=0):
            return False
        self.measure_spool()
        return True

    def _make_in_memory(self):
        by_number = dict((entry.number, entry) for entry in self._entries())
        handed = dict((number, entry.handed) for number, entry in by_number.items())
        merged, dropped = self._disk.memory.make_room(handed)
        for number, count in merged.items():
            _count_merged(by_number[number], count)
        for number, count in dropped.items():
            self._losses.count(by_number[number], count)

    def _make_on_disk(self, wanted):
        try:
            found = self._sweep.next(self._disk.store, self._entries(), wanted)
            if found is None:
                return False
            entry, replaced, gone, is_loss = found
            if gone:
                self._sacrifice(entry, replaced, gone, is_loss)
        except BaseException:
            # What was chosen may still be there: search from the start.
            self._sweep = bounds.Sweep()
            raise
        return True

    def _sacrifice(self, entry, replaced, gone, is_loss):
        dropped = len(gone) if is_loss else 0
        changes = {
            "gone": entry.gone + len(gone),
            "dropped": entry.dropped + dropped,
            "merged": entry.merged + len(gone) - dropped,
            "unreported": entry.unreported + dropped,
        }
        # Written before it is counted: an interruption in between leaves rows missing that count
        # as waiting; they are noticed and counted as dropped when their turn comes.
        self._disk.store.sacrifice(entry, gone, replaced, changes)
        self._disk.changed += 1
        self._heads.forget(entry)
        _count_merged(entry, len(gone) - dropped)
        self._losses.count(entry, dropped)


def _count_merged(entry, count):
    entry.merged += count
    entry.gone += count
