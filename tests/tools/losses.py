"""What a run dropped or sent in doubt, in its own sessions and in adopted ones.

An application imports this before it opens a session: `stats()` does not count adopted sessions.
"""

from __future__ import absolute_import, division

from datacat.outbox.tables import Entry
from tools.report import LOSSES

_entries = []
_make_entry = Entry.__init__


def _remember(entry, **columns):
    _make_entry(entry, **columns)
    _entries.append(entry)


Entry.__init__ = _remember


def losses():
    """Return {kind of loss: how many records so far}, and how many were `overtaken`."""
    kinds = LOSSES + ("overtaken",)
    return dict((kind, sum(getattr(entry, kind) for entry in _entries)) for kind in kinds)
