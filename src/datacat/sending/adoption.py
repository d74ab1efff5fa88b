"""Adopting outboxes: which free ones are taken over, and what happened to the sessions in them.

Belongs here: whether a session without a goodbye crashed.  Does not: sending, SQL, threads.
"""

from __future__ import absolute_import, division

import os

from .. import _compat
from ..outbox.outbox import Outbox
from ..outbox.spool import identity_of
from ..records import build, kinds

_CRASH = "session_crashed_detected"
_REPORT = "session_crash_report"
CRASHED = "crashed"
LEFT = "left"
# The v1 servers' own term for an end without a known reason.
UNKNOWN = "abnormal_termination"
KILLED_WHILE_HUNG = "killed_while_hung"
REBOOTED = "machine_restarted"


def describe_owner():
    """Return the notes that a process leaves in its outbox for whoever adopts it."""
    return {"process": str(os.getpid()), "boot": _compat.boot_identity()}


def adopt(stores, heirs, max_bytes, warn):
    """Return the outboxes in free stores, without reporting crashes yet.

    :param stores: as `Spool.survey` returned them.
    :param heirs: identities of outboxes whose sessions live on in a forked child; not adopted.
    """
    adopted = []
    for store in stores:
        if identity_of(store.path) in heirs:
            store.close()
        else:
            adopted.append(Outbox(store, max_bytes, warn))
    return adopted


def report_inherited_crashes(outbox, entries, heirs, is_told_by_server, notes=None):
    """Report the crashes among sessions that a continued outbox already had.

    :param notes: the previous process's notes of itself; by default those in the outbox.
    """
    if identity_of(outbox.path) not in heirs:
        notes = outbox.notes() if notes is None else notes
        report_crashes(outbox, entries, notes, is_told_by_server)


def report_crashes(outbox, entries, notes, is_told_by_server):
    """Record the crash of every session among `entries` that did not say goodbye.

    A session that the dead process had inherited itself may live on elsewhere; it is only left.

    :param notes: the dead process's notes of itself.
    :param is_told_by_server: whether the server itself writes an event when it is told of a crash
        (v1); ours has another name then.
    """
    for entry in entries:
        if entry.goodbye or not outbox.has(entry):
            continue
        if entry.inherited:
            outbox.say_goodbye(entry, LEFT)
            continue
        facts = crash_facts(entry, notes, _compat.boot_identity())
        facts["last_lived_at"] = kinds.rfc3339(outbox.last_lived)
        event = build.event(
            _REPORT if is_told_by_server else _CRASH,
            facts,
            category="critical",
            message=facts["reason"],
        )
        outbox.append(entry, kinds.EVENT, build.encode(event))
        outbox.say_goodbye(entry, CRASHED, kinds.CRASH, build.encode(build.crash(facts["reason"])))


def crash_facts(entry, notes, boot):
    """Return what is known about the end of a session without a goodbye.

    :param entry: the session's Entry.
    :param notes: its process's notes of itself.
    :param boot: the identity of the machine's current boot, "" if unknown.
    """
    rebooted = notes["boot"] != boot if boot and notes.get("boot") else None
    reason = REBOOTED if rebooted else KILLED_WHILE_HUNG if entry.hung else UNKNOWN
    return {
        "reason": reason,
        "rebooted": rebooted,
        "hung_before": bool(entry.hung),
        "process": notes.get("process"),
    }
