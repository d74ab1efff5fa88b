"""Signals that end the process: `end_on_signals`.

Belongs here: the handlers, and what runs in which thread.  Does not: how a process ends.
"""

from __future__ import absolute_import, division

import os
import signal
import threading

from .. import notices
from .._compat import start_daemon
from . import shutdown

# How long a handler waits before it lets the interrupted thread continue.
_GOODBYE_SECONDS = 0.25

_handlers_before = {}


class _Process(object):
    """The ending that is in progress, or None."""

    finishing = None


def end_on_signals(numbers):
    """Finish everything at these signals, then call the previous handler.

    A second signal meanwhile calls that at once.

    :param numbers: signal numbers (ints).
    """
    for number in numbers:
        if number in _handlers_before:
            continue
        _handlers_before[number] = signal.getsignal(number)
        try:
            signal.signal(number, _on_signal)
        except (ValueError, EnvironmentError):
            del _handlers_before[number]
            notices.warn(
                "end_on_signals has no effect on signal %d: Python handles it in the main thread "
                "only, if at all; call create_session there" % number
            )


def _on_signal(number, frame):
    finishing = _Process.finishing
    if finishing is None:
        finishing = _Process.finishing = _Finishing(number)
        if not finishing.run():
            return
    _Process.finishing = None
    _as_before(number, frame)


class _Finishing(object):
    """Finishes everything at a signal, in a thread of its own.

    The interrupted thread may be inside a log call and hold a lock that is needed here.  Then the
    handler must return, and the signal is sent again at the end.
    """

    def __init__(self, number):
        self._number = number
        self._said_goodbye = threading.Event()
        self._is_over = False
        self._is_on_its_own = False
        self._thread = threading.Thread(target=self._finish, name="datacat-finishing")

    def run(self):
        """Finish; return False if that continues after the handler has returned."""
        if start_daemon(self._thread) is not None:
            return True
        if self._said_goodbye.wait(_GOODBYE_SECONDS) or self._said_goodbye.is_set():
            self._thread.join(shutdown.EXIT_SECONDS)
            return True
        self._is_on_its_own = True
        return self._is_over

    def _finish(self):
        try:
            shutdown.finish_all(shutdown.EXIT_SECONDS, self._said_goodbye.set)
        finally:
            self._is_over = True
            if self._is_on_its_own:
                _send_myself(self._number)


def _as_before(number, frame):
    before = _handlers_before[number]
    if callable(before):
        before(number, frame)
    elif before == signal.SIG_DFL:
        signal.signal(number, signal.SIG_DFL)
        _send_myself(number)


def _send_myself(number):
    if os.name == "posix":
        os.kill(os.getpid(), number)
    else:
        # There, os.kill would end the process without calling a handler.
        signal.raise_signal(number)
