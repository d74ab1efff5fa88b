"""Counting the demo's records: what was accepted against what the server has.

Belongs here: pure functions.  Does not: processes, requests.

Each record carries its application's name and a number, which is unique among the application's
events, metrics and states.
"""

from __future__ import absolute_import, division

import collections

EVENT = "event"
METRIC = "metric"
STATE = "state"

_TAG = "demo:%s:%d"

Count = collections.namedtuple("Count", "accepted delivered lost twice out_of_order unaccepted")
Seen = collections.namedtuple("Seen", "crashes hangs recoveries")


def mark(application, number):
    """Return the fields that identify a record, for an event's data or a state."""
    return {"application": application, "number": number}


def tag(application, number):
    """Return the tag that identifies a metric."""
    return _TAG % (application, number)


def accepted_line(number):
    """Return the line (bytes) that says that the log call of this record has returned."""
    return ("%d\n" % number).encode("ascii")


def accepted_numbers(lines):
    """Return the set of numbers in a file of `accepted_line`s (bytes).

    A last line that a kill has cut off does not count.
    """
    return set(int(line) for line in lines.split(b"\n")[:-1])


def delivered_numbers(sessions):
    """Return {application: {kind: [numbers in order of arrival]}}; other records are left out.

    :param sessions: the answer to GET /api/data/sessions (a list).
    """
    delivered = collections.defaultdict(lambda: collections.defaultdict(list))
    for session in sessions:
        for event in session.get("events") or ():
            _put(delivered, EVENT, event.get("data") or {})
        for metric in session.get("metrics") or ():
            _put(delivered, METRIC, _mark_in(metric.get("tags") or ()))
        for snapshot in session.get("state_history") or ():
            _put(delivered, STATE, snapshot.get("state") or {})
    return delivered


def _put(delivered, kind, fields):
    if "application" in fields and "number" in fields:
        delivered[fields["application"]][kind].append(fields["number"])


def _mark_in(tags):
    for candidate in tags:
        parts = candidate.split(":")
        if len(parts) == 3 and parts[0] == "demo":
            return mark(parts[1], int(parts[2]))
    return {}


def count(accepted, delivered, killed=False):
    """Return the Count of one application.

    Order is compared within each kind, because a server keeps the kinds apart.

    :param accepted: the numbers of accepted records (a set).
    :param delivered: {kind: [numbers in order of arrival]}.
    :param killed: whether the application was killed.  Then one record more may have arrived: the
        kill can strike after its log call has returned and before the line that says so.
    """
    tolerated = set([max(accepted) + 1]) if killed and accepted else set()
    arrived = [number for numbers in delivered.values() for number in numbers]
    distinct = set(arrived)
    return Count(
        accepted=len(accepted),
        delivered=len(distinct & accepted),
        lost=len(accepted - distinct),
        twice=len(arrived) - len(distinct),
        out_of_order=sum(map(_overtaken, delivered.values())),
        unaccepted=len(distinct - accepted - tolerated),
    )


def _overtaken(numbers):
    """Return how many distinct numbers arrived after a greater one."""
    overtaken, seen, greatest = 0, set(), None
    for number in numbers:
        if number in seen:
            continue
        seen.add(number)
        if greatest is not None and number < greatest:
            overtaken += 1
        greatest = number if greatest is None else max(greatest, number)
    return overtaken


def together(counts):
    """Return the sum of Counts."""
    return Count(*(sum(column) for column in zip(*counts)))


def seen(sessions):
    """Return the Seen: crashed sessions, and events of hangs and recoveries."""
    names = collections.Counter(
        event["name"] for session in sessions for event in session.get("events") or ()
    )
    return Seen(
        crashes=sum(1 for session in sessions if session.get("crashed")),
        hangs=names["application_appears_hung"],
        recoveries=names["application_recovered"],
    )


def held(total, saw):
    """Return whether every promise held, and every fault was seen."""
    return (
        total.accepted == total.delivered > 0
        and total.lost == total.twice == total.out_of_order == total.unaccepted == 0
        and min(saw) >= 1
    )


def table(rows, saw):
    """Return the lines of the table: `rows` is a list of (title, Count)."""
    titles = ("", "accepted", "delivered", "lost", "twice", "out of order", "never accepted")
    cells = [titles] + [(title,) + tuple("%d" % number for number in row) for title, row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        )
        for row in cells
    ]
    lines.insert(1, "-" * len(lines[0]))
    return lines + [
        "",
        "crashes seen %d, hangs seen %d, recoveries seen %d (one of each was caused)" % saw,
    ]
