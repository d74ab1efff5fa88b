"""Merging updates of a session's state.

Belongs here: whether two updates may become one, and which.  Does not: storage, requests.
"""

from __future__ import absolute_import, division

import json

from .. import errors
from . import build, kinds


def merge_updates(earlier, later):
    """Return an update (a dict) with the same effect as two in a row, or None.

    The effect must be the same whatever the state was before, and whether nulls delete keys or are
    stored.  No single update has it if a key changes from another value to a dict (by itself, the
    dict would be merged into the server's), or if dicts are merged below the top level and the
    later one has a null (a server that never had the earlier one would store the null).
    """
    return _merged(earlier, later, nested=False)


def _merged(earlier, later, nested):
    merged = dict(earlier)
    for key, value in later.items():
        if value is None and nested:
            return None
        if isinstance(value, dict) and key in earlier:
            if not isinstance(earlier[key], dict):
                return None
            value = _merged(earlier[key], value, nested=True)
            if value is None:
                return None
        merged[key] = value
    return merged


def merge_records(earlier, later):
    """Return the later of two state records with both updates in it.

    None if `merge_updates` returns None, or the record would be too large.
    """
    try:
        merged = merge_updates(_update(earlier), _update(later))
        return None if merged is None else later._replace(body=build.encode(merged))
    except (ValueError, errors.InvalidArgument):
        return None


def _update(record):
    return json.loads(record.body.decode("ascii"))


def merge_neighbours(waiting, handed=0):
    """Merge the adjacent state records of one session.

    :param waiting: the session's records, in order.
    :param handed: leave records up to this number alone; they may be in flight.
    :returns: (records that replace those with their numbers, numbers to delete).
    """
    replaced, gone, last = {}, [], None
    for record in waiting:
        merged = None
        if record.kind == kinds.STATE and last is not None:
            merged = merge_records(last, record)
        if merged is not None:
            replaced.pop(last.number, None)
            gone.append(last.number)
            replaced[merged.number] = record = merged
        last = record if record.kind == kinds.STATE and record.number > handed else None
    return list(replaced.values()), gone
