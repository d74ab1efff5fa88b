"""The parts of a comparison: the calls that were made, the deviations that were found."""

from __future__ import absolute_import, division

import collections
import sys

# The client's counts of records that it did not simply deliver.
LOSSES = ("dead", "dropped", "merged", "possibly_twice")

RETURNED, RAISED, UNFINISHED = "returned", "raised", "unfinished"

SHOWN = 10
LONE_SURROGATES_PASS = "strict" if sys.version_info < (3,) else "surrogatepass"


class Call(object):
    """One call of the library as the application recorded it.

    outcome: RETURNED, RAISED or UNFINISHED (killed during it). began, ended: monotonic seconds.
    asked: for how many seconds it asked to wait for locks.
    """

    def __init__(self, mark, session, kind, fields):
        self.mark = mark
        self.session = session
        self.kind = kind
        self.fields = fields
        self.outcome = UNFINISHED
        self.began = None
        self.ended = None
        self.asked = 0.0

    def __repr__(self):
        return "%s %s (%s) in %s" % (self.kind, self.mark, self.outcome, self.session)


class Report(object):
    """What was found.  The deviations are lists of texts, by kind:

    lost: accepted, but not on the server. twice: there more than once. out_of_order: there before
    a record that was accepted earlier. different: there with other content, or a merged state
    that does not result from the updates. not_sent: there, but never accepted. merged: a state
    update without an entry of its own in v1's history. split: one session's records in several
    sessions of the server. mixed: several sessions' records in one.
    """

    KINDS = ("lost", "twice", "out_of_order", "different", "not_sent", "merged", "split", "mixed")

    def __init__(self, calls):
        self.calls = calls
        self.accepted = sum(call.outcome == RETURNED for call in calls.values())
        self.arrived = {}  # mark -> the server's session ids, one for each arrival
        self.own = collections.Counter()  # the client's and the server's own events, by name
        self.empty_sessions = []
        self.deviations = dict((kind, []) for kind in self.KINDS)

    def add(self, kind, text, *values):
        self.deviations[kind].append(text % values)

    def excess(self, allow):
        """Return the kinds of deviations with more than `allow` ({kind: number}) permits."""
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
    """Report each arrival whose call had ended before that of an earlier arrival began."""
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
        # UTF-16 joins the surrogate pairs of a narrow build, and rejects lone ones.
        return value.encode("utf-16-le", LONE_SURROGATES_PASS).decode("utf-16-le", "replace")
    return float(value)
