"""What the options say that limit how many records are kept: `max_per_minute` and `sample`.

Belongs here: reading them.  Does not: which records are held back (see `records.flood`).
"""

from __future__ import absolute_import, division

import six

from . import checks
from .checks import shown
from .errors import InvalidSettings

_UNLESS_GIVEN = {u"event": None, u"exception": 60, u"metric": None}


def max_per_minute(name, value):
    """Return how many records alike are kept in a minute, None for all: sorted pairs with kinds.

    :param value: a number for all kinds, or {kind: number or None}; None: as if not given.
    :raises InvalidSettings: if it is something else.
    """
    limits = dict(_UNLESS_GIVEN)
    if isinstance(value, dict):
        for kind, limit in value.items():
            if kind not in limits:
                raise InvalidSettings(
                    "%s has the kind %s; those that can be limited are %s"
                    % (name, shown(kind), ", ".join(sorted(limits)))
                )
            limits[kind] = limit
            if limit is not None:
                checks.size("the number for %s in %s" % (kind, name), limit)
    elif isinstance(value, six.integer_types):
        limits = dict.fromkeys(limits, checks.size(name, value))
    elif value is not None:
        raise InvalidSettings(
            "%s must be a number of records, or a dict such as {'exception': 60, 'event': 600}, "
            "not %s" % (name, shown(value))
        )
    return tuple(sorted(limits.items()))


def sample(name, value):
    """Return the share that is kept of events and metrics: sorted pairs with their names.

    :param value: {name: a number from 0 to 1}; None: nothing.
    :raises InvalidSettings: if it is something else.
    """
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise InvalidSettings(
            "%s must be a dict such as {'mouse_moved': 0.01}, not %s" % (name, shown(value))
        )
    shares = {}
    for record, given in value.items():
        share = checks.finite(given)
        if share is None or not 0 <= share <= 1:
            raise InvalidSettings(
                "the share of %s in %s must be a number from 0 to 1, not %s"
                % (shown(record), name, shown(given))
            )
        shares[checks.text("the name %s in %s" % (shown(record), name), record)] = share
    return tuple(sorted(shares.items()))
