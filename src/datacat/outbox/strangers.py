"""Outboxes in the folder that no process of this application sends: what to say of them.

Belongs here: which ones these are, and the words.  Does not: when they are looked for.
"""

from __future__ import absolute_import, division

import collections
import os

from . import names
from .ownership import has_owner

# Lists of paths: of another server or product; of another machine; of a newer datacat.
Strangers = collections.namedtuple("Strangers", "foreign remote newer")

_COMPLAINT = (
    "%d outboxes in %s are not sent by this program (%s); the oldest was last written %s ago; "
    "they count towards max_bytes: run the program that wrote them, or delete them if it is gone"
)
_DAY, _HOUR = 86400.0, 3600.0


def find(outboxes, scope, is_local, newer, now):
    """Return the Strangers among some outboxes, None if there are none.

    :param outboxes: paths.
    :param scope: the Scope of this application.
    :param is_local: whether other machines' outboxes may be opened.
    :param newer: paths of those that are known to have a newer schema.
    :param now: seconds since the epoch.
    """
    others = [path for path in outboxes if not names.is_of(path, scope, is_local)]
    remote = [path for path in others if names.is_of_another_machine(path, scope)]
    # On another machine, it cannot be seen whether there is an owner that sends them.
    foreign = [path for path in others if path not in remote and not _may_be_sent(path, now)]
    found = Strangers(foreign, remote, [path for path in outboxes if path in newer])
    return found if any(found) else None


def _may_be_sent(path, now):
    owned = has_owner(path, ours=True)
    return now - _last_written(path) < _DAY if owned is None else owned


def complaint(found, folder, now):
    """Return what to say of some Strangers.

    :param now: seconds since the epoch.
    """
    reasons = zip(
        ("of another server or product", "of another machine", "of a newer datacat"), found
    )
    counts = ["%d %s" % (len(paths), reason) for reason, paths in reasons if paths]
    paths = set(path for several in found for path in several)
    age = now - min([_last_written(path) for path in paths] + [now])
    return _COMPLAINT % (len(paths), folder, ", ".join(counts), _words(age))


def _last_written(path):
    try:
        return os.stat(path).st_mtime
    except OSError:
        return float("inf")


def _words(age):
    if age >= 2 * _DAY:
        return "%d days" % (age // _DAY)
    return "%d hours" % (age // _HOUR) if age >= 2 * _HOUR else "less than 2 hours"
