"""One update of a session's state in the place of two.

Belongs here: when two updates may become one, and which.  Does not: storage, requests.
"""

from __future__ import absolute_import, division

import json

from .. import errors
from . import build, kinds


def merge_updates(earlier, later):
    """Return the one update (a dict) that does what two do one after the other, or None.

    None: whatever the state was before, and whether the server deletes on null or stores it, no
    single update gives the same.  That is so where a key turns from something else into a dict
    (alone, the dict would be merged into what the server had), and where a null meets a dict
    below the top (a server that never had the dict would store the null).
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
    """Return the later of two state records with the updates of both in it, or None.

    None as for `merge_updates`, and where the record would be too large for a request.
    """
    try:
        merged = merge_updates(_update(earlier), _update(later))
        return None if merged is None else later._replace(body=build.encode(merged))
    except (ValueError, errors.InvalidRecord):
        return None


def _update(record):
    return json.loads(record.body.decode("ascii"))


def merge_neighbours(waiting, handed=0):
    """Return what becomes of records that lie one after the other in one session.

    :param waiting: the records, in order.
    :param handed: records up to this number may be in flight, and stay as they are.
    :returns: (records that replace those of the same number, numbers that go).
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
