"""The end of the process: every pipeline says goodbye, delivers what it can, and closes.

Belongs here: the order of these, and the time for them.  Does not: what a pipeline does then.
"""

from __future__ import absolute_import, division

import atexit
import functools

from .. import notices
from .._compat import ESCAPED, monotonic
from . import native, recording, registry

EXIT_SECONDS = 2.0


class _Process(object):
    """What this process has prepared or begun."""

    is_prepared = False
    is_exiting = False


def prepare():
    """Register `at_exit`, once, at the first session.

    Handlers that the application registers later run before it.
    """
    if not _Process.is_prepared:
        _Process.is_prepared = True
        atexit.register(at_exit)


def is_exiting():
    """Return whether the interpreter is exiting, so that no thread should be started."""
    return _Process.is_exiting


def at_exit():
    """Finish everything; what is logged from now on is kept for the next run."""
    _Process.is_exiting = True
    finish_all(EXIT_SECONDS)
    # Otherwise they would be called when the modules that they need are gone.
    for member in registry.memberships():
        member.belong_to(None)


def finish_all(seconds, when_goodbyes_are_said=None):
    """Have every pipeline of this process deliver and close, all within `seconds`.

    :param when_goodbyes_are_said: called once every session's end is recorded on disk.
    """
    until = monotonic() + seconds
    pipelines = registry.pipelines()
    for pipeline in pipelines:
        _guarded(pipeline.say_goodbye, until)
    native.stop()
    if when_goodbyes_are_said is not None:
        when_goodbyes_are_said()
    for pipeline in pipelines:
        _guarded(pipeline.finish, until)


def _guarded(step, until):
    """One pipeline's failure must not stop the others from closing."""
    try:
        step(until)
    except Exception:
        notices.report("bug in datacat, please report it (the process ends normally)")


def show_ends(outbox, members):
    """Have `before_record` see, at exit, what is about to be recorded with the lock.

    Before that, tell what sessions have held back.
    """
    ending = [each for each in members if not (each.is_inherited or each.place.entry.goodbye)]
    steps = [functools.partial(recording.tell_held_back, member) for member in members]
    for show in steps + [outbox.report_drops] + [member.show_end for member in ending]:
        try:
            show()
        except ESCAPED:
            # Such as sys.exit(), during an exit: the ends are recorded all the same.
            pass
