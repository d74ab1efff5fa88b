"""What happened while a disk refused, until it is written.

Belongs here: states, dead letters, forgotten sessions and notes, in memory.  Does not: records
(see `memory`), counts and positions, which the entries have.
"""

from __future__ import absolute_import, division

import collections

from . import bounds


class Unwritten(object):
    """Remembers what is still to be written; notes are kept for good, for files to come.

    :ivar notes: {name: text} of the owner.
    :ivar states: {session: bytes of its merged state}; b"" deletes it.
    :ivar letters: a deque of dead letters.
    :ivar forgotten: numbers of forgotten sessions.
    """

    def __init__(self):
        self.notes = {}
        self.states = {}
        self.letters = collections.deque()
        self.forgotten = set()

    def add(self, session, state, letter):
        """Remember a state and a dead letter, either of which may be None."""
        if state is not None:
            self.states[session] = state
        if letter is not None:
            self.letters.append(letter)
            while sum(len(one.record.body) for one in self.letters) > bounds.DEAD_BYTES:
                self.letters.popleft()

    def remove(self, session, state, letter):
        """Drop the last `add`: it is on disk."""
        if state is not None:
            self.states.pop(session, None)
        if letter is not None:
            self.letters.pop()

    def forget(self, session):
        """Remember that a session was forgotten."""
        self.states.pop(session, None)
        self.forgotten.add(session)

    def write(self, store, entries):
        """Write all of it into a store, with the entries of its sessions."""
        store.note(self.notes)
        store.settle_all(entries, self.states, self.letters, self.forgotten)
        self.states.clear()
        self.letters.clear()
        self.forgotten.clear()
