"""What the demo concludes from what applications wrote down and what the server holds. Pure.

A record of the demo carries its application's name and a number; an application gives each number
once: to an event, a metric or a state.
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
    """Return the line (bytes) that says: the call with this record has returned."""
    return ("%d\n" % number).encode("ascii")


def accepted_numbers(lines):
    """Return the set of numbers that `accepted_line` made into lines, joined (bytes).

    A last line that a kill has cut counts as not written.
    """
    return set(int(line) for line in lines.split(b"\n")[:-1])


def delivered_numbers(sessions):
    """Return {application: {kind: [numbers in order of arrival]}} of a v1 server's sessions.

    `sessions` is a list as GET /api/data/sessions gives it. What carries no mark of the demo is
    left out.
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
    """Return the Count of one application: accepted numbers, and delivered ones by kind.

    Order is compared within a kind: a server keeps events, metrics and states apart. Of an
    application that was `killed`, the record after the last one written down may have arrived:
    the kill can strike between the return of the call and the line that says so.
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
    """Return how many distinct numbers came after a greater one."""
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
    """Return what the server's sessions say of crashes (sessions), hangs and recoveries."""
    names = collections.Counter(
        event["name"] for session in sessions for event in session.get("events") or ()
    )
    return Seen(
        crashes=sum(1 for session in sessions if session.get("crashed")),
        hangs=names["application_appears_hung"],
        recoveries=names["application_recovered"],
    )


def held(total, saw):
    """Return whether the promises held: nothing wrong in `total`, and what was done was seen."""
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
        "crashes seen %d, hangs seen %d, recoveries seen %d (one of each was made)" % saw,
    ]
