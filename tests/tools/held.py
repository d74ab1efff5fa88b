"""What a server has of a session, in a short form that tests compare."""

from __future__ import absolute_import, division

# The client's own events about the session rather than the application.
TIMES = frozenset(["session_opened_offline", "session_ended_offline"])


def names(session):
    """Return the names of a session's events, in the order of their arrival."""
    return [event["name"] for event in session["events"] or () if event["name"] not in TIMES]


def crash_report(collector):
    """Return the name of the event in which the client tells a collector of a crash."""
    return "session_crashed_detected" if collector.classic else "session_crash_report"


def numbers(session, name="step"):
    """Return the "number" in the data of each event with this name, in the order of arrival."""
    return [event["data"]["number"] for event in session["events"] or () if event["name"] == name]


def event(session, name):
    """Return the only event with this name."""
    found = [each for each in session["events"] or () if each["name"] == name]
    assert len(found) == 1, "%d events %s among %s" % (len(found), name, names(session))
    return found[0]


def is_ended(session):
    """Return whether the session was ended, and not by a crash."""
    return bool(session.get("ended_at")) and not session.get("crashed")
