"""Consent: what turning recording off, and forgetting, means for a session and its files.

1. Turned off, a session says goodbye first, so that no kill from then on is a crash.  Then its
   flag is cleared: calls ask it before they make a record, before they join a pipeline, and with
   the pipeline's lock before they open one.  So a call of another thread that was on its way keeps
   its record before the file is closed, or not at all.
2. A pipeline that no recording session needs is closed, and is not started again by such a call.
3. Files are forgotten last, when this process has none of them open any more.  Until then, and for
   those that another session of this process uses, sessions are deleted in the file.
4. Turned on again, it is another session with another local id: what waits of the one before,
   its end too, is sent as that of any session that nobody uses.

Belongs here: the order of the steps.  Does not: whether a call is recorded (see `recording`), and
which files are deleted (see `outbox.forgetting`).
"""

from __future__ import absolute_import, division

from .. import locks, scope
from ..outbox import forgetting
from ..outbox.spool import Spool
from . import registry, shutdown

_LEFT = (
    "%d outboxes in %s were not deleted, because running programs use them: %s; end these, and "
    "call set_recording(False, forget=True) again"
)
_locks = {}


def set_recording(member, on, forget):
    """Turn recording on or off.

    :param member: a Membership.
    :param on: whether to record (bool).
    :param forget: whether to delete first what is kept for its server and product.
    :returns: whether nothing is left that was to be deleted.
    """
    done = []
    lock = locks.of_this_process(_locks)
    locks.run_holding(lock, lambda: done.append(_set_recording(member, on, forget)))
    return done[0]


def _set_recording(member, on, forget):
    is_clean = True
    if member.is_recording and (forget or not on):
        _turn_off(member, forget)
    if forget:
        is_clean = _forget_files(member)
    if on and not member.is_recording:
        member.start_recording()
    return is_clean


def _turn_off(member, forget):
    settings = member.stop_recording()
    # All that there are: a log call in another thread may be opening one just now.
    for pipeline in registry.pipelines():
        if pipeline.settings == settings:
            pipeline.members.pop(member.local_id, None)
            if forget:
                _forget_sessions(pipeline)
            pipeline.close_if_unused(shutdown.EXIT_SECONDS)


def _forget_sessions(pipeline):
    """Forget the sessions in the files of a pipeline, but for those that record."""
    if pipeline.engine is None:
        return
    kept = set()
    for member in list(pipeline.members.values()):
        if member.is_recording:
            kept.add(member.place.entry)
            kept.update(member.place.entry.past)
    for outbox in pipeline.engine.sender.outboxes:
        if outbox.closed:
            continue
        for entry in outbox.entries():
            if entry not in kept:
                outbox.forget(entry)
        outbox.upkeep.forget_all_letters()


def _forget_files(member):
    """Delete the files of its scope that nobody has; return whether that was all of them."""
    where = scope.of(member.settings)
    for pipeline in registry.pipelines():
        if scope.of(pipeline.settings) == where:
            _forget_sessions(pipeline)
    spool = Spool(member.settings.spool_dir, where, False, member.warn)
    if spool.folder is None:
        return True
    left = forgetting.forget(spool.folder, spool.paths(), where, registry.lock())
    if left:
        member.warn("forget", _LEFT % (len(left), spool.folder, ", ".join(left)))
    return not left
