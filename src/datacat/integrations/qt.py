"""Qt: exceptions in slots, and an event loop that hangs; with PySide6, PyQt6 and PyQt5.

Belongs here: heartbeats by a timer, and the signals of the application's end.  Does not: which of
the bindings is used: the application has chosen.
"""

from __future__ import absolute_import, division

import sys

import datacat

from .watching import Watch

# The bindings do not keep the objects whose methods they call.
_alive = set()


def watch(app, session, timeout=10):
    """Log the exceptions of slots, report the event loop as hung when it is, and end the session.

    The session is ended, without waiting, when the application is about to quit, and when the
    user's Windows session ends.  Exceptions are found by `sys.excepthook`, as
    `session.install_exception_hooks` does; PyQt ends a program without such a hook at an exception
    in a slot, and with one goes on.  Call this in the thread of the application.

    :param app: the application's QApplication, QGuiApplication or QCoreApplication.
    :param session: a Session.
    :param timeout: seconds without a turn of the event loop that make a hang (number), counted
        from the first turn on; None: that is not watched.
    :returns: an object whose `stop()` ends this in the same thread; also a context manager that
        does.
    :raises InvalidArgument: if `app` is none of these, or `timeout` is not such a number.
    """
    return _QtWatch(app, session, timeout)


class _QtWatch(Watch):
    name = "qt"

    def __init__(self, app, session, timeout):
        core = _core_of(app)
        super(_QtWatch, self).__init__(session, timeout)
        self._hooks = session.install_exception_hooks(threads=False, unraisable=False)
        app.aboutToQuit.connect(self._end_session)
        # Which a QCoreApplication lacks.
        if hasattr(app, "commitDataRequest"):
            app.commitDataRequest.connect(self._end_session)
        self._timer = None
        if self._monitor is not None:
            self._timer = core.QTimer(app)
            self._timer.timeout.connect(self._beat)
            self._timer.start(int(self._pause * 1000) or 1)
        _alive.add(self)

    def _beat(self):
        if not self.is_stopped:
            self._monitor.heartbeat()

    def _restore(self):
        self._hooks.uninstall()
        if self._timer is not None:
            try:
                self._timer.stop()
            except RuntimeError:
                pass  # it went with the application
        _alive.discard(self)


def _core_of(app):
    """Return the module QtCore of the binding that an application is made with."""
    for kind in type(app).__mro__:
        module = sys.modules.get(kind.__module__)
        if kind.__name__ == "QCoreApplication" and hasattr(module, "QTimer"):
            return module
    raise datacat.InvalidArgument("app must be the application's QApplication, not %r" % (app,))
