"""A session's state as delivered: what the server makes of all updates so far.

Belongs here: loading it, merging an update into it, the size up to which it is kept.  Does not:
storing it, which the transaction that settles the update does.
"""

from __future__ import absolute_import, division

import json

from .. import errors
from ..outbox.salvage import UNKNOWN_STATE
from ..records import build
from ..wire import dialects, readback

STATE_BYTES = 256 * 1024


def merged_state(lane):
    """Return a session's state as delivered (a dict), or None if it is not known."""
    if lane.merged is None:
        stored = lane.outbox.state(lane.entry)
        lane.merged = {} if stored is None else json.loads(stored.decode("ascii"))
    return lane.merged


def merge(lane, record, dialect):
    """Merge a delivered update into the session's state; return the bytes to store."""
    merged = merged_state(lane)
    if merged is None:
        return UNKNOWN_STATE
    update = json.loads(record.body.decode("ascii"))
    return keep(lane, readback.merge_state(merged, update, null_deletes=dialect is dialects.V1))


def keep(lane, state):
    """Take a state as the session's as delivered; return the bytes to store."""
    lane.merged = state
    try:
        return build.encode(state, STATE_BYTES)
    except errors.InvalidArgument:
        lane.merged = None
        return UNKNOWN_STATE
