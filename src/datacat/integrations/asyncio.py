"""asyncio: exceptions that nothing handles, and loops that are blocked.

Belongs here: the exception handler of a loop, and heartbeats from it.  Does not: tasks, which stay
as they are; their factory is never replaced.
"""

from __future__ import absolute_import, division

import asyncio
import sys
import weakref

import datacat

from .watching import Watch

# What a loop's exception handler may be told besides the message and the exception.
_SUBJECTS = ("future", "task", "handle", "protocol", "transport", "asyncgen")


def watch(session, loop=None, timeout=10):
    """Log what a loop finds unhandled, and report it as hung when it is blocked.

    A loop that does not run does not hang.  The loop's exception handler is still called; one that
    is set later replaces the watch's.  A loop that is closed is watched no longer.  Thread-safe.

    :param session: a Session.
    :param loop: an event loop; None: the one that runs in this thread.
    :param timeout: seconds for which a loop may be blocked (number); None: for ever.
    :returns: an object whose `stop()` ends this; also a context manager that does.
    :raises InvalidArgument: if the loop is closed, or `timeout` is not such a number.
    :raises RuntimeError: if no loop is given, and none runs.
    """
    if loop is None:
        # Python 3.6 lacks the former.
        loop = getattr(asyncio, "get_running_loop", asyncio.get_event_loop)()
    if loop.is_closed():
        raise datacat.InvalidArgument("this loop is closed: watch one before it is run")
    return _AsyncioWatch(session, loop, timeout)


class _AsyncioWatch(Watch):
    name = "asyncio"

    def __init__(self, session, loop, timeout):
        # Weakly: a loop that is never closed may go all the same.
        self._loop = weakref.ref(loop)
        super(_AsyncioWatch, self).__init__(session, timeout, self._is_running)
        self._before = loop.get_exception_handler()
        # Kept, because a method is made anew each time.
        self._handler = self._handle
        loop.set_exception_handler(self._handler)
        if self._monitor is not None:
            loop.call_soon_threadsafe(self._beat)

    def _is_running(self):
        loop = self._loop()
        if loop is None or loop.is_closed():
            self.stop()
            return False
        return loop.is_running()

    def _beat(self):
        loop = self._loop()
        if not self.is_stopped and loop is not None:
            loop.call_later(self._pause, self._beat)
            self._monitor.heartbeat()

    def _handle(self, loop, context):
        try:
            # At the end of the interpreter, tasks are told that have been forgotten.
            if not self.is_stopped and not sys.is_finalizing():
                self._tell_context(context)
        finally:
            if self._before is None:
                loop.default_exception_handler(context)
            else:
                self._before(loop, context)

    def _tell_context(self, context):
        data = dict((name, _shown(context[name])) for name in _SUBJECTS if name in context)
        message, error = context.get("message"), context.get("exception")
        if error is not None:
            self._tell(type(error), error, error.__traceback__, context=message, **data)
        else:
            # Such as a task that is destroyed before it is done.
            data = dict(data, handled=False, mechanism=self.name)
            self._session.log_event("asyncio_error", data, category="error", message=message)

    def _restore(self):
        loop = self._loop()
        if loop is not None and loop.get_exception_handler() is self._handler:
            loop.set_exception_handler(self._before)


def _shown(thing):
    # As text: nothing may keep a task that is about to go.
    try:
        return repr(thing)
    except Exception:
        return object.__repr__(thing)
