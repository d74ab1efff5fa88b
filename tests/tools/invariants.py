"""Compares what applications say was accepted with what a server has.

Belongs here: comparing the files that recorder.py writes with a server's sessions (JSON).  Does
not: the client's counters and code, whose bugs would then be in the tests too.
"""

from __future__ import absolute_import, division

import collections
import io
import json

from tools.merged_state import check_states
from tools.report import RAISED, RETURNED, Call, Report, check_order, comparable

# Events that the client or a v1 server itself writes.
OWN_EVENTS = frozenset(
    [
        "application_appears_hung",
        "application_recovered",
        "datacat_records_dropped",
        "datacat_records_held_back",
        "forked_process_crashed",
        "session_crash_report",
        "session_crashed_detected",
        "session_ended_offline",
        "session_forked",
        "session_opened_offline",
        "session_reopened",
        "session_rotated",
    ]
)

MARK_TAG = u"mark:"
LATE_TAG = u"captured_at:"
LATE_KEY = u"_captured_at"
# What classic servers have no fields for.
TOLD_IN_DATA = ("message", "category", "group", "labels")
TOLD_IN_TAGS = ("type", "unit", "count", "metadata")


def read_accepted(files):
    """Return {mark: call} of all `files`, in the order in which they were written."""
    calls = collections.OrderedDict()
    for name in files:
        with io.open(str(name), encoding="ascii") as stream:
            lines = stream.read().split(u"\n")
        # The last is empty, or cut short by the kill.
        for line, after in zip(lines, lines[1:]):
            if line and (after or _is_json(line)):
                _read_line(json.loads(line), calls)
    return calls


def _is_json(line):
    """Return whether a line is whole; one cut short by a kill is followed by an empty one."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _read_line(line, calls):
    if "trying" in line:
        mark = line["trying"]
        assert mark not in calls, "two recorders write the mark %s: name them apart" % mark
        calls[mark] = Call(mark, line["session"], line["kind"], line["fields"])
        return
    outcome = RETURNED if RETURNED in line else RAISED
    call = calls[line[outcome]]
    call.outcome, call.began, call.ended = outcome, line["began"], line["ended"]
    call.asked = line["asked"]


def compare(files, sessions, own_events=OWN_EVENTS):
    """Return the Report that compares the applications' `files` with the server's `sessions`."""
    report = Report(read_accepted(files))
    for session in sessions:
        _check_session(session, report, own_events)
    check_states(sessions, report)
    for mark, call in report.calls.items():
        if call.outcome == RETURNED and call.kind != "state" and mark not in report.arrived:
            report.add("lost", "%r", call)
    _check_where(sessions, report)
    return report


def check_invariants(files, sessions, allow=None, own_events=OWN_EVENTS):
    """Return the Report; raise AssertionError with it unless everything arrived as accepted.

    files: the accepted files. sessions: all of the server's sessions, whole. allow: {kind of
    deviation: how many} (see Report), for tests that provoke them.
    """
    sessions = list(sessions)
    report = compare(files, sessions, own_events)
    assert report.accepted, "the applications accepted nothing: %s" % ", ".join(map(str, files))
    assert not report.excess(allow or {}), str(report)
    return report


def _check_session(session, report, own_events):
    for kinds, items in (
        (("event", "exception"), session.get("events")),
        (("metric",), session.get("metrics")),
    ):
        first_arrivals = []
        for item in items or ():
            mark = _mark_of(item)
            call = report.calls.get(mark)
            if mark is None and item.get("name") in own_events and "metric" not in kinds:
                report.own[item["name"]] += 1
            elif call is None or call.outcome == RAISED or call.kind not in kinds:
                report.add("not_sent", "%.300r in %s", item, session["id"])
            else:
                if mark in report.arrived:
                    report.add("twice", "%r in %s", call, session["id"])
                else:
                    first_arrivals.append(call)
                report.arrived.setdefault(mark, []).append(session["id"])
                _check_content(call, item, "state_history" in session, report)
        check_order(first_arrivals, report)


def _mark_of(item):
    data = item.get("data")
    if isinstance(data, dict) and "mark" in data:
        return data["mark"]
    for tag in item.get("tags") or ():
        if tag.startswith(MARK_TAG):
            return tag[len(MARK_TAG) :]
    return None


def _check_content(call, item, is_v1, report):
    expected = comparable(call.fields)
    there = comparable(item)
    if not is_v1:
        expected = comparable(_as_classic_keeps(call))
        if isinstance(there.get("data"), dict):
            there["data"].pop(LATE_KEY, None)
        there["tags"] = [tag for tag in there.get("tags") or () if not tag.startswith(LATE_TAG)]
    if call.kind == "exception":
        # The client adds the traceback and the causes.
        there["data"] = dict((key, there["data"].get(key)) for key in expected["data"])
    for key in sorted(expected):
        if there.get(key) != expected[key]:
            report.add(
                "different",
                "%r: %s is %.300r instead of %.300r",
                call,
                key,
                there.get(key),
                expected[key],
            )


def _as_classic_keeps(call):
    """Return the fields of a record as a classic server keeps them; the rest is told in these."""
    fields = call.fields
    if call.kind != "metric":
        told = dict(("_" + name, fields[name]) for name in TOLD_IN_DATA if name in fields)
        return {"name": fields["name"], "data": dict(fields["data"], **told)}
    told = [u"%s:%s" % (name, _one_line(fields[name])) for name in TOLD_IN_TAGS if name in fields]
    return {"name": fields["name"], "value": fields["value"], "tags": fields["tags"] + told}


def _one_line(value):
    is_text = isinstance(value, type(u""))
    return (
        value
        if is_text
        else json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    )


def _check_where(sessions, report):
    homes = collections.defaultdict(set)
    guests = collections.defaultdict(set)
    for mark, ids in report.arrived.items():
        homes[report.calls[mark].session].update(ids)
        for each in ids:
            guests[each].add(report.calls[mark].session)
    for label, ids in sorted(homes.items()):
        if len(ids) > 1:
            report.add("split", "the records of %s are in %s", label, ", ".join(sorted(ids)))
    for each, labels in sorted(guests.items()):
        if len(labels) > 1:
            report.add("mixed", "%s holds records of %s", each, ", ".join(sorted(labels)))
    report.empty_sessions = [session["id"] for session in sessions if session["id"] not in guests]
