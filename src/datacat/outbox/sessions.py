"""The sessions of one outbox.

Belongs here: finding them.  Does not: what becomes of them.
"""

from __future__ import absolute_import, division


class Sessions(object):
    """Entries by number; may be read without the lock while another thread changes them."""

    def __init__(self):
        self._entries = {}
        self._by_local_id = {}

    def add(self, entry):
        """Add a session's entry."""
        self._by_local_id[entry.local_id] = entry
        self._entries[entry.number] = entry

    def remove(self, entry):
        """Remove a session's entry."""
        self._by_local_id.pop(entry.local_id, None)
        del self._entries[entry.number]

    def entries(self):
        """Return the sessions' entries, oldest first."""
        return sorted(list(self._entries.values()), key=lambda entry: entry.number)

    def has(self, entry):
        """Return whether a session is here and was not forgotten."""
        return self._entries.get(entry.number) is entry

    def find(self, local_id):
        """Return the entry of the session with a local id, or None."""
        return self._by_local_id.get(local_id)
