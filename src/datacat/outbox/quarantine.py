"""Damaged outboxes that were replaced, and are kept for a while for whoever wants to examine them.

Belongs here: what they are called, how many are kept and for how long.  Does not: how a file
becomes one (see `replacing`).
"""

from __future__ import absolute_import, division

import os
import re

from .names import scope_of

KEPT = 3
KEPT_DAYS = 30
_NAME = re.compile(r"\.corrupt-(?P<time>[0-9]+)(-wal)?$")


def kept_path(path, now):
    """Return the path that a damaged outbox gets.

    :param now: seconds since the epoch.
    """
    return "%s.corrupt-%d" % (path, now)


def prune(folder, scope, now, most=KEPT):
    """Remove those that are too old, and this scope's that are too many; return how many bytes.

    :param now: seconds since the epoch.
    :param most: how many of this scope to keep.
    """
    try:
        found = os.listdir(folder)
    except OSError:
        return 0
    return sum(_remove(os.path.join(folder, name)) for name in expired(found, scope, now, most))


def expired(names, scope, now, most):
    """Return which of a folder's names belong to damaged outboxes that are kept no longer.

    :param names, scope, now, most: as `prune` has them.
    """
    times = dict((name, _time_of(name)) for name in names if _time_of(name) is not None)
    own = [name for name in times if scope_of(name) == scope and not name.endswith("-wal")]
    kept = sorted(own, key=times.get, reverse=True)[:most]
    oldest = now - KEPT_DAYS * 86400
    return sorted(
        name
        for name in times
        if times[name] < oldest or (scope_of(name) == scope and _without_log(name) not in kept)
    )


def _without_log(name):
    return name[: -len("-wal")] if name.endswith("-wal") else name


def _time_of(name):
    match = _NAME.search(name)
    return int(match.group("time")) if match and scope_of(name) else None


def _remove(path):
    try:
        size = os.path.getsize(path)
        os.remove(path)
        return size
    except OSError:
        return 0
