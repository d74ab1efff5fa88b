"""What a server holds of a session, in the few words that tests compare."""

from __future__ import absolute_import, division

# Of the client's own events, those that tell of a session's life and not of the application.
TIMES = frozenset(["session_opened_offline", "session_ended_offline"])


def names(session):
    """Return the names of a session's events, in the order in which they arrived."""
    return [event["name"] for event in session["events"] or () if event["name"] not in TIMES]


def numbers(session, name="step"):
    """Return the data's "number" of the events of that name, in the order of their arrival."""
    return [event["data"]["number"] for event in session["events"] or () if event["name"] == name]


def event(session, name):
    """Return the one event of that name."""
    found = [each for each in session["events"] or () if each["name"] == name]
    assert len(found) == 1, "%d events %s among %s" % (len(found), name, names(session))
    return found[0]


def is_ended(session):
    """Return whether the session was ended, and not as a crash."""
    return bool(session.get("ended_at")) and not session.get("crashed")
