"""Where a session's records go, and what becomes of its entry when that changes.

Belongs here: `Place`, what is pending for the next one, and the entry of a session that moves.
Does not: when a session moves, locks, threads.
"""

from __future__ import absolute_import, division

import collections
import os

from ..outbox.entry import Entry
from ..outbox.salvage import UNKNOWN_STATE
from ..outbox.shared import mark_ended, mark_shared
from ..records import build, kinds, redaction

ENDED = "ended"
CLOSED = "closed"

_CARRIED = (
    "sent",
    "events",
    "metrics",
    "dead",
    "dropped",
    "merged",
    "possibly_twice",
    "overtaken",
)

_NOTHING_KNOWN = {
    "in_memory": 0,
    "oldest_age": None,
    "last_error": None,
    "online": None,
    "dialect": None,
}


class Place(object):
    """A session's pipeline and its entry there; replaced as a whole, never changed.

    :ivar process: the id of the process whose records go there; None: none go there any more.
    """

    __slots__ = ("pipeline", "entry", "process", "append", "sleepers")

    def __init__(self, pipeline, entry, process):
        self.pipeline = pipeline
        self.entry = entry
        self.process = process
        if pipeline is not None:
            # Looked up once, for the log calls.
            self.append = pipeline.outbox.append
            self.sleepers = pipeline.sleepers

    @property
    def is_foreign(self):
        """Whether the pipeline is another process's, from which this one was forked."""
        return self.pipeline is not None and self.pipeline.is_foreign

    def closed(self):
        """Return the place of the same session after the application closed it."""
        return Place(self.pipeline, self.entry, None)


def nowhere(local_id, opening):
    """Return the Place of a session that no pipeline has yet.

    :param opening: the body of its open request, bytes.
    """
    return Place(None, Entry(number=0, local_id=local_id, opening=opening, opened=0), None)


class Pending(collections.namedtuple("Pending", "process word kind body kept")):
    """A record to be kept in a session's next place.

    Its body is None if there was no memory for it.  If `word` is not None, the record belongs to
    that goodbye, and may itself be None.  `kept` is a list for the outbox (see
    `Intake.append_once`).
    """

    __slots__ = ()

    def keep(self, outbox, entry):
        """Keep it; return False if the outbox has closed, or has forgotten the session."""
        if self.word is not None:
            last = () if self.kind is None else (self.kind, self.body)
            return is_said(self.word, entry) or outbox.say_goodbye(entry, self.word, *last)
        return outbox.append_once(entry, self.kind, self.body, self.kept)


def keep_all(pending, outbox, entry):
    """Keep what is pending in a session; return False if the outbox has forgotten the session.

    :param pending: a deque of Pending.
    """
    while pending:
        # Removed last: keeping it again after an interruption keeps it once (`append_once`).
        if pending[0].process == os.getpid() and not pending[0].keep(outbox, entry):
            return False
        pending.popleft()
    return True


def is_said(word, entry):
    """Return whether a session has said this goodbye, or a stronger one."""
    return entry.goodbye == ENDED or bool(entry.goodbye and word == CLOSED)


def open_session(outbox, opening, local_id, state=None, news=None):
    """Add a session that no server knows yet to an outbox; return its entry.

    :param opening: the body of its open request, bytes.
    :param state: the first state of the session, sent before any record, bytes or None.
    :param news: the body of a first event, or None.
    """
    entry = outbox.add_session(local_id, opening, restoring=int(state is not None))
    if state is not None:
        outbox.update(entry, state)
    outbox.append(entry, kinds.OPEN, opening)
    if news is not None:
        outbox.append(entry, kinds.EVENT, news)
    return entry


def can_move(place):
    """Return whether a session can continue in another outbox, under its id.

    A forked child must leave a mark beside its parent's outbox before it keeps anything: the
    parent's next read-back must know, unless the server tells records apart.
    """
    if place.entry.server_id is None:
        return False
    if not place.is_foreign or mark_shared(place.pipeline.outbox.path, place.entry.server_id):
        return True
    return place.pipeline.engine.tells_records_apart


def move_session(outbox, local_id, place):
    """Move a session that the server knows from its place into an outbox; return its entry."""
    old, is_forked = place.entry, place.is_foreign
    columns = {"shared": 1}
    if not is_forked or old.goodbye is not None:
        columns = dict((name, getattr(old, name)) for name in _CARRIED)
        columns["goodbye"] = old.goodbye
        # Others send what waits in the old outbox, so counting proves nothing.
        columns["accepted"] = columns["gone"] = old.gone
        columns["shared"] = int(bool(old.shared) or is_forked or old.waiting > 0)
    entry = outbox.add_session(
        local_id,
        old.opening,
        server_id=old.server_id,
        inherited=int(is_forked or bool(old.inherited)),
        **columns
    )
    outbox.update(entry, UNKNOWN_STATE)
    return entry


def mark_end(place, local_id):
    """Tell whoever finds the outbox of the session's first process that the session has ended."""
    if place.entry.inherited:
        mark_ended(place.pipeline.outbox.path, local_id)


def report_losses(pipeline):
    """Report what a pipeline's sessions lost, before a goodbye; harmless if it has closed.

    Not with the goodbye: that is said with the pipeline's lock, and `before_record` is called.

    :param pipeline: a Pipeline of this process, or None.
    """
    if pipeline is not None:
        pipeline.outbox.report_drops()


def forked_event(local_id, redact):
    """Return the body of a session's first event if a forked child opened it.

    :param local_id: of the parent's session that it replaces.
    :param redact: what its records pass through, or None.
    :returns: None if that drops it.
    """
    event = build.event("session_forked", {"forked_from": local_id})
    return redaction.own_event(redact, event)


def waiting_in(files):
    """Return how many records wait in those of some files that are still there.

    :param files: {path: how many wait in it}.
    """
    return sum(count for path, count in list(files.items()) if os.path.exists(path))


def waiting_for(entry):
    """Return how many records of a session wait, also for server sessions that it has left."""
    return entry.waiting + sum(each.waiting for each in entry.past)


def taken_over(count, paths):
    """Return what to say of records in files that another process took over."""
    return (
        "%d records of this session belong to another process now, which took over %s after this "
        "one had closed it, and sends them" % (count, " and ".join(paths))
    )


def stats(pipeline, entry, pending, left_behind):
    """Return a session's `stats()`.

    :param pending: how many of its records wait for a place.
    :param left_behind: {path: how many of them wait in that file, which is another process's}.
    """
    found = dict(_NOTHING_KNOWN if pipeline is None else pipeline.stats(entry))
    for name in ("sent", "dead", "dropped", "merged", "possibly_twice", "overtaken"):
        found[name] = getattr(entry, name)
    elsewhere = waiting_in(left_behind)
    found["waiting"] = waiting_for(entry) + pending + elsewhere
    found["in_memory"] += pending
    if elsewhere:
        found["last_error"] = taken_over(elsewhere, sorted(left_behind))
    return found
