"""The sessions of one outbox.

Belongs here: finding them.  Does not: what becomes of them.
"""

from __future__ import absolute_import, division


class Sessions(object):
    """Entries by number; may be read without the lock while another thread changes them."""

    def __init__(self):
        self._entries = {}

    def add(self, entry):
        """Add a session's entry."""
        self._entries[entry.number] = entry

    def remove(self, entry):
        """Remove a session's entry."""
        del self._entries[entry.number]

    def entries(self):
        """Return the sessions' entries, oldest first."""
        return sorted(list(self._entries.values()), key=lambda entry: entry.number)

    def has(self, entry):
        """Return whether a session is here and was not forgotten."""
        return self._entries.get(entry.number) is entry

    def find(self, local_id):
        """Return the entry of the session with a local id, or None."""
        for entry in list(self._entries.values()):
            if entry.local_id == local_id:
                return entry
        return None
