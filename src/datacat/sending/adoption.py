"""Adopting outboxes: which free ones are taken over, and what happened to the sessions in them.

Belongs here: which one is next and when, and whether a session without a goodbye crashed.  Does
not: sending, SQL, threads.
"""

from __future__ import absolute_import, division

import os

from .. import _compat
from ..outbox import stacks
from ..outbox.names import identity_of
from ..outbox.shared import is_marked_ended
from ..records import build, kinds, redaction

_CRASH = "session_crashed_detected"
_REPORT = "session_crash_report"
# Of a process whose session lives on, or has ended elsewhere.
_FORKED = "forked_process_crashed"
CRASHED = "crashed"
LEFT = "left"
# The v1 servers' own term for an end without a known reason.
UNKNOWN = "abnormal_termination"
KILLED_WHILE_HUNG = "killed_while_hung"
REBOOTED = "machine_restarted"
# faulthandler has written why.
NATIVE = "native_crash"

LOOK_SECONDS = 60.0
MOST_ADOPTED = 8
# The database, its log and its companion.
_DESCRIPTORS_OF_ONE = 3
_OTHER_DESCRIPTORS = 10


def describe_owner():
    """Return the notes that a process leaves in its outbox for whoever adopts it."""
    return {"process": str(os.getpid()), "boot": _compat.boot_identity()}


def most_adopted(descriptors):
    """Return how many outboxes of dead processes one pipeline may have open.

    :param descriptors: how many descriptors this process may have, None if that is unknown.
    """
    if descriptors is None:
        return MOST_ADOPTED
    # Half of them are the application's; our own outbox and connections need some of the rest.
    ours = descriptors // 2 - _OTHER_DESCRIPTORS
    return max(1, min(MOST_ADOPTED, ours // _DESCRIPTORS_OF_ONE))


class Leftovers(object):
    """The outboxes that dead processes left in a spool, as far as they are not adopted yet.

    :ivar due: when to look for more, monotonic seconds.
    :param spool: the Spool.
    """

    def __init__(self, spool):
        self.due = 0.0
        self._spool = spool
        self._paths = []

    @property
    def are_waiting(self):
        """Whether there may be some that were found, but not yet opened."""
        return bool(self._paths)

    def is_due(self, now, adopted):
        """Return whether to look for some, or to open the next one.

        :param adopted: how many adopted outboxes this pipeline has open.
        """
        return now >= self.due or (
            self.are_waiting and adopted < most_adopted(_compat.descriptor_limit())
        )

    def look(self, now, mine):
        """Look which outboxes there are.

        :param mine: paths of the outboxes that this process has open.
        """
        self.due = now + LOOK_SECONDS
        self._paths = self._spool.candidates(mine)
        self._report_if_none()

    def take(self, mine):
        """Return the store of the next one; None if it has an owner, or its sessions live on."""
        path = self._paths.pop(0)
        try:
            if path in mine or self._spool.has_living_heir(identity_of(path), mine):
                return None
            return self._spool.open_if_free(path)
        finally:
            self._report_if_none()

    def _report_if_none(self):
        # Only then it is known which ones have a newer schema.
        if not self._paths:
            self._spool.report_what_is_left_alone()


def report_crashes(outbox, entries, notes, is_told_by_server):
    """Record the crash of every session among `entries` that did not say goodbye.

    A session that the dead process had inherited itself may live on elsewhere, and one that was
    inherited from it may have ended elsewhere: it is only left.  If faulthandler wrote that the
    process crashed all the same, the session is told so, too.

    :param notes: the dead process's notes of itself.
    :param is_told_by_server: whether the server itself writes an event when it is told of a crash
        (v1); ours has another name then.
    """
    left = stacks.left_by(outbox.path, notes.get("process"))
    for entry in entries:
        if entry.goodbye or not outbox.has(entry):
            continue
        dump = stacks.read(left.get(entry.local_id))
        facts = crash_facts(entry, notes, _compat.boot_identity(), dump)
        facts["last_lived_at"] = kinds.rfc3339(outbox.last_lived)
        if entry.inherited or is_marked_ended(outbox.path, entry.local_id):
            if dump is not None:
                _tell(outbox, entry, _FORKED, facts, dump)
            outbox.say_goodbye(entry, LEFT)
        else:
            _tell(outbox, entry, _REPORT if is_told_by_server else _CRASH, facts, dump)
            crash = redaction.never_dropped(
                entry.redact, kinds.CRASH, build.crash(facts["reason"])
            )
            outbox.say_goodbye(entry, CRASHED, kinds.CRASH, build.encode(crash))
        stacks.remove(left.get(entry.local_id))


def _tell(outbox, entry, name, facts, dump):
    """Record the event of a crash."""
    message = facts["reason"] if dump is None else dump.error
    event = build.event(name, facts, category="critical", message=message)
    body = redaction.own_event(entry.redact, event)
    if body is not None:
        outbox.append(entry, kinds.EVENT, body)


def crash_facts(entry, notes, boot, dump=None):
    """Return what is known about the end of a session without a goodbye.

    :param entry: the session's Entry.
    :param notes: its process's notes of itself.
    :param boot: the identity of the machine's current boot, "" if unknown.
    :param dump: the Dump that faulthandler wrote in its process, or None.
    """
    rebooted = notes["boot"] != boot if boot and notes.get("boot") else None
    reason = REBOOTED if rebooted else KILLED_WHILE_HUNG if entry.hung else UNKNOWN
    facts = {
        "reason": reason if dump is None else NATIVE,
        "rebooted": rebooted,
        "hung_before": bool(entry.hung),
        "process": notes.get("process"),
    }
    if dump is not None:
        facts["stacks"] = dump.stacks
    return facts
