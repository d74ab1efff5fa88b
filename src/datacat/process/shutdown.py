"""The end of the process: every pipeline says goodbye, delivers what it can, and closes.

Belongs here: the order of that, and its time.  Does not: what a pipeline does then.
"""

from __future__ import absolute_import, division

import atexit

from .._compat import monotonic
from ..notices import LOGGER
from . import registry

EXIT_SECONDS = 2.0


class _Process(object):
    """How far this process has come."""

    is_prepared = False
    is_exiting = False


def prepare():
    """Register `at_exit`, once, at the first session.

    Handlers that the application registers after that run before it.
    """
    if not _Process.is_prepared:
        _Process.is_prepared = True
        atexit.register(at_exit)


def is_exiting():
    """Return whether the interpreter is on its way out, so that no thread should start."""
    return _Process.is_exiting


def at_exit():
    """Finish everything; what is logged from now on is kept for the next run."""
    _Process.is_exiting = True
    finish_all(EXIT_SECONDS)


def finish_all(seconds, when_goodbyes_are_said=None):
    """Let every pipeline of this process deliver and close, all within `seconds`.

    :param when_goodbyes_are_said: called when every session's end is recorded, on disk.
    """
    until = monotonic() + seconds
    pipelines = registry.pipelines()
    for pipeline in pipelines:
        _guarded(pipeline.say_goodbye, until)
    if when_goodbyes_are_said is not None:
        when_goodbyes_are_said()
    for pipeline in pipelines:
        _guarded(pipeline.finish, until)


def _guarded(step, until):
    """Let no pipeline's trouble keep the others from their goodbye."""
    try:
        step(until)
    except Exception:
        LOGGER.exception(
            "this is a bug in datacat, please report it; the process ends all the same"
        )
