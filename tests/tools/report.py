"""What a comparison is made of: the calls that were made, the deviations that were found."""

from __future__ import absolute_import, division

import collections
import sys

# What the client counts of what it did not simply deliver.
LOSSES = ("dead", "dropped", "merged", "possibly_twice")

RETURNED, RAISED, UNFINISHED = "returned", "raised", "unfinished"

SHOWN = 10
LONE_SURROGATES_PASS = "strict" if sys.version_info < (3,) else "surrogatepass"


class Call(object):
    """One call of the library as the application wrote it down.

    outcome: RETURNED, RAISED or UNFINISHED (killed in it). began, ended: monotonic seconds.
    starved: seconds in which its process waited for a processor meanwhile.
    """

    def __init__(self, mark, session, kind, fields):
        self.mark = mark
        self.session = session
        self.kind = kind
        self.fields = fields
        self.outcome = UNFINISHED
        self.began = None
        self.ended = None
        self.starved = 0.0

    def __repr__(self):
        return "%s %s (%s) in %s" % (self.kind, self.mark, self.outcome, self.session)


class Report(object):
    """What was found. The deviations are lists of texts, by kind:

    lost: accepted and not there. twice: there more often than once. out_of_order: there before
    what had been accepted before it. different: there with another content, or a merged state
    that is not what the updates make. not_sent: there though never accepted. merged: a state
    update that v1's history does not show by itself. split: one session's records in several
    sessions of the server. mixed: several sessions' records in one.
    """

    KINDS = ("lost", "twice", "out_of_order", "different", "not_sent", "merged", "split", "mixed")

    def __init__(self, calls):
        self.calls = calls
        self.accepted = sum(call.outcome == RETURNED for call in calls.values())
        self.arrived = {}  # mark -> the ids of the server's sessions, one for each arrival
        self.own = collections.Counter()  # events of the client and the server, by name
        self.empty_sessions = []
        self.deviations = dict((kind, []) for kind in self.KINDS)

    def add(self, kind, text, *values):
        self.deviations[kind].append(text % values)

    def excess(self, allow):
        """Return the deviations that are more than `allow` (kind to number) says may be."""
        return [kind for kind in self.KINDS if len(self.deviations[kind]) > allow.get(kind, 0)]

    def __str__(self):
        lines = ["%d accepted, %d arrived" % (self.accepted, len(self.arrived))]
        for kind in self.KINDS:
            found = self.deviations[kind]
            if found:
                lines.append("%s: %d" % (kind, len(found)))
                lines.extend("    " + text for text in found[:SHOWN])
                if len(found) > SHOWN:
                    lines.append("    ... and %d more" % (len(found) - SHOWN))
        return "\n".join(lines)


def check_order(arrivals, report):
    """Report each arrival that had been accepted before the call of one before it began."""
    latest = None
    for call in arrivals:
        if latest is not None and call.ended is not None and call.ended < latest.began:
            report.add("out_of_order", "%r came after %r", call, latest)
        if call.began is not None and (latest is None or call.began > latest.began):
            latest = call


def comparable(value):
    """Return `value` as servers keep it: numbers as float64, lone surrogates replaced."""
    if isinstance(value, dict):
        return dict((comparable(key), comparable(each)) for key, each in value.items())
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if isinstance(value, bool):
        return (bool, value)  # for Python, True equals 1.0
    if value is None:
        return None
    if isinstance(value, bytes):  # a native string of Python 2
        value = value.decode("utf-8")
    if isinstance(value, type(u"")):
        # UTF-16 joins what a narrow build keeps as a pair, and knows what is alone.
        return value.encode("utf-16-le", LONE_SURROGATES_PASS).decode("utf-16-le", "replace")
    return float(value)
