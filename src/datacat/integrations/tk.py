"""Tk: exceptions in its callbacks, and a main loop that hangs.

Belongs here: what `tkinter` calls for an exception, heartbeats by `after`, the window's end.  Does
not: anything that has to be imported from `tkinter`: the application has done so.
"""

from __future__ import absolute_import, division

from .watching import Watch


def watch(root, session, timeout=10):
    """Log the exceptions of Tk's callbacks, and report the main loop as hung when it is.

    What `report_callback_exception` was before is still called.  The session is ended, without
    waiting, when the user's Windows session is.  The watch ends when the root is destroyed.  Call
    this in the thread of the root.

    :param root: the application's `tkinter.Tk`; each root has a watch of its own.
    :param session: a Session.
    :param timeout: seconds without a turn of the main loop that make a hang (number), counted from
        the first turn on; None: that is not watched.
    :returns: an object whose `stop()` ends this in any thread; also a context manager that does.
    :raises InvalidArgument: if `timeout` is not such a number.
    """
    return _TkWatch(root, session, timeout)


class _TkWatch(Watch):
    name = "tk"

    def __init__(self, root, session, timeout):
        super(_TkWatch, self).__init__(session, timeout)
        self._root = root
        self._pending = None
        self._own = vars(root).get("report_callback_exception")
        self._before = root.report_callback_exception
        # Of this root alone, so that its class may override it.  Kept, because a method is made
        # anew each time.
        self._reporter = root.report_callback_exception = self._report
        self._script = root.protocol("WM_SAVE_YOURSELF")
        # What Tk makes of WM_QUERYENDSESSION.
        root.protocol("WM_SAVE_YOURSELF", self._save_yourself)
        # Not a binding of <Destroy>, which one of the application's would replace.
        gone = root.register(self._gone)
        root.tk.call("trace", "add", "command", root, "delete", gone)
        if self._monitor is not None:
            self._pending = root.after(0, self._beat)

    def _report(self, kind, error, trace):
        try:
            self._tell(kind, error, trace)
        finally:
            self._before(kind, error, trace)

    def _beat(self):
        if not self.is_stopped:
            self._pending = self._root.after(int(self._pause * 1000) or 1, self._beat)
            self._monitor.heartbeat()

    def _save_yourself(self):
        self._end_session()
        if self._script:
            self._root.tk.eval(self._script)

    def _gone(self, *_):
        # Otherwise another root's main loop would call what is gone, and say so on stderr.
        if self._pending is not None:
            self._root.after_cancel(self._pending)
        self.stop()

    def _restore(self):
        root = self._root
        if vars(root).get("report_callback_exception") is self._reporter:
            del root.report_callback_exception
            if self._own is not None:
                root.report_callback_exception = self._own
