"""The oldest record of each session, read from the disk a few at a time.

Belongs here: pages of waiting records, and noticing missing ones.  Does not: what becomes of a
record.  The caller has the outbox's lock.
"""

from __future__ import absolute_import, division

import collections
import itertools

from .store import PAGE_RECORDS

# A page starts small, because with many sessions each sends one record per turn, and doubles while
# the same session continues.
_FIRST_PAGE = 8
_PAGES_KEPT = 64


class Heads(object):
    """Looks up sessions' oldest waiting records, on disk and in memory.

    :param disk: the Disk.
    :param losses: the Losses, for records that count as waiting but are missing.
    """

    def __init__(self, disk, losses):
        self._disk = disk
        self._losses = losses
        # {entry: [records on disk], least recently used first}
        self._pages = collections.OrderedDict()
        self._sizes = {}

    def head(self, entry):
        """Return a session's oldest waiting record, or None."""
        memory = self._disk.memory
        remembered = memory.first(entry.number, entry.position) if memory.sessions else None
        page = self._pages.get(entry)
        while page and page[0].number <= entry.position:
            page.popleft()
        while not page and self._on_disk(entry) > 0:
            page = self._load(entry)
            if page is None:
                # Records in memory must not overtake those that cannot be read now.
                return None
        written = page[0] if page else None
        if written is None or remembered is None:
            return written or remembered
        return min(written, remembered, key=lambda record: record.number)

    def front(self, entry, most):
        """Return a session's oldest waiting records that are at hand, in order.

        While some wait in memory, at most one: their neighbours may be on disk.

        :param most: how many to return at most.
        """
        head = self.head(entry)
        if head is None:
            return []
        page = self._pages.get(entry)
        if not page or self._disk.memory.count(entry.number):
            return [head]
        if len(page) < most and self._sizes[entry] < PAGE_RECORDS:
            page = self._load(entry, PAGE_RECORDS) or [head]
        return list(itertools.islice(page, most))

    def times(self, entries):
        """Return (entry, capture time of its oldest record) for each session that has one."""
        written = self._disk.heads()
        found = []
        for entry in entries:
            number, captured = written.get(entry.number, (0, 0))
            remembered = self._disk.memory.first(entry.number, entry.position)
            if number <= entry.position or remembered is not None:
                # Settled records may still be on a disk that refuses.
                head = self.head(entry)
                captured = None if head is None else head.captured
            if captured is not None:
                found.append((entry, captured))
        return found

    def forget(self, entry):
        """Read the session's records anew."""
        self._pages.pop(entry, None)
        self._sizes.pop(entry, None)

    def forget_all(self):
        """Read all sessions' records anew."""
        self._pages.clear()
        self._sizes.clear()

    def _on_disk(self, entry):
        """Return how many of a session's waiting records should be on disk."""
        return entry.accepted - entry.gone - self._disk.memory.count(entry.number)

    def _load(self, entry, size=None):
        """Read the session's next records and return them; None if they cannot be read now."""
        size = size or min(PAGE_RECORDS, 2 * self._sizes.get(entry, _FIRST_PAGE // 2))
        loaded = self._next_page(entry, size)
        if loaded is None:
            return None
        records, damaged = loaded
        # If nothing is found, all that should be there is lost.
        lost = len(damaged) if records or damaged else self._on_disk(entry)
        if lost:
            # A disk that refuses cannot delete the damaged rows; do not count them again.
            entry.position = max([entry.position] + damaged)
            self._losses.count(entry, lost)
            self._disk.save(entry)
        return self._keep(entry, records, size)

    def _next_page(self, entry, size):
        """Return what `Disk.page` does, without what is out and a refusing disk cannot delete."""
        after = entry.position
        while True:
            loaded = self._disk.page(entry.number, after, size)
            if loaded is None or not entry.ahead:
                return loaded
            records, damaged = loaded
            waiting = [record for record in records if record.number not in entry.ahead]
            if waiting or damaged or not records:
                return waiting, damaged
            after = records[-1].number

    def _keep(self, entry, records, size):
        self.forget(entry)
        page = self._pages[entry] = collections.deque(records)
        self._sizes[entry] = size
        while len(self._pages) > _PAGES_KEPT:
            oldest, _ = self._pages.popitem(last=False)
            del self._sizes[oldest]
        return page
