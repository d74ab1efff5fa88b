"""Which records are held back, by `max_per_minute` and `sample`, and what is said of them.

Belongs here: these decisions, with `now` given.  Does not: clocks, locks, what is done with a
record.
"""

from __future__ import absolute_import, division

import collections

from . import build, kinds

MINUTE = 60.0
# How many sorts of records are told apart at a time.
MOST_KEYS = 1000
# How many an event names, those with most records first.
MOST_NAMED = 20
_LONGEST_TEXT = 200
# Stands for every sort beyond those.
_OTHERS = None

# Records with equal keys are alike.  kind: event, exception or metric; name: theirs, of an
# exception its class; where: of an exception the (file, line, function) that raised it, of an
# event its group; or None.
Key = collections.namedtuple("Key", "kind name where")


def key_of(kind, fields):
    """Return the Key of an event or a metric."""
    group = fields.get("group")
    return Key(kind, _short(fields["name"]), None if group is None else _short(group))


def key_of_exception(name, place):
    """Return the Key of an exception.

    :param name: of its class (text).
    :param place: the (file, line, function) that raised it, or None.
    """
    return Key(kinds.EXCEPTION, _short(name), place)


def _short(given):
    return build.text_or_str(given)[:_LONGEST_TEXT]


class Flood(object):
    """What one process holds back of one session's records.  Not thread-safe.

    :param limits: {kind: how many records alike are kept in a minute, None for all}.
    :param shares: {name: which share of events and metrics of that name is kept, 0 to 1}.
    :param draw: a callable that returns a random number, at least 0 and less than 1.
    :ivar held_back: how many records were held back (int).
    :ivar untold_since: when the first was held back of those that are not told yet, or None.
    """

    def __init__(self, limits, shares, draw):
        self._limits = limits
        self._shares = shares
        self._draw = draw
        self.held_back = 0
        self.untold_since = None
        self._untold = {}
        # {key: [when its minute began, how many were kept since]}, the oldest first.
        self._minutes = collections.OrderedDict()

    def holds_back(self, key, now):
        """Return whether a record is held back; if so, it is counted.

        :param now: monotonic seconds.
        """
        if self._is_drawn(key) and self._is_within_limit(key, now):
            return False
        if key not in self._untold and len(self._untold) >= MOST_KEYS:
            key = _OTHERS
        if self.untold_since is None:
            self.untold_since = now
        self._untold[key] = self._untold.get(key, 0) + 1
        self.held_back += 1
        return True

    def _is_drawn(self, key):
        share = None if key.kind == kinds.EXCEPTION else self._shares.get(key.name)
        return share is None or self._draw() < share

    def _is_within_limit(self, key, now):
        limit = self._limits[key.kind]
        if limit is None:
            return True
        minute = self._minutes.get(key)
        if minute is None or now - minute[0] >= MINUTE:
            minute = self._begin_minute(key, now)
        if minute[1] >= limit:
            return False
        minute[1] += 1
        return True

    def _begin_minute(self, key, now):
        self._minutes.pop(key, None)
        if len(self._minutes) >= MOST_KEYS:
            self._minutes.popitem(last=False)
        minute = self._minutes[key] = [now, 0]
        return minute

    def tell(self, now):
        """Return the fields of the event that tells what was held back since the last one.

        :returns: None if nothing was.
        """
        if self.untold_since is None:
            return None
        untold, seconds = self._untold, now - self.untold_since
        self._untold, self.untold_since = {}, None
        return _event(untold, seconds)


def _event(untold, seconds):
    count = sum(untold.values())
    untold.pop(_OTHERS, None)
    most = sorted(untold.items(), key=lambda pair: (-pair[1], repr(pair[0])))[:MOST_NAMED]
    data = {
        "count": count,
        "seconds": round(seconds, 1),
        "records": [dict(_named(key), count=number) for key, number in most],
    }
    others = count - sum(number for _, number in most)
    if others:
        data["others"] = others
    text = u"held back by max_per_minute or sample: %d" % count
    return build.event("datacat_records_held_back", data, message=text)


def _named(key):
    if key.kind != kinds.EXCEPTION:
        named = {"kind": key.kind, "name": key.name, "group": key.where}
    else:
        place = None if key.where is None else u"%s:%s in %s" % key.where
        named = {"kind": key.kind, "type": key.name, "place": place}
    return dict((name, value) for name, value in named.items() if value is not None)
