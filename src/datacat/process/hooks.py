"""When the process forks, ends or gets a signal: who is told, in what order, with what time.

What may live here: the hooks of this process and the list of those they serve.  What may not:
what a pipeline does when it is told.
"""

from __future__ import absolute_import, division

import atexit
import os
import signal
import threading

from .. import _compat, locks
from .._compat import monotonic
from ..notices import LOGGER

EXIT_SECONDS = 2.0
# For each lock, and each of the two times that a hook is called.
_FREEZE_SECONDS = 2.5
_GOODBYE_SECONDS = 0.25

_served = []
_locks = {}
_handlers_before = {}


class _Phase(object):
    """What the process is in the middle of."""

    exiting = False
    finishing = None


def process_lock():
    """Return the lock for what there is once a process."""
    # Never one that another thread of the parent held at the fork.
    return _locks.setdefault(os.getpid(), threading.RLock())


def serve(pipeline):
    """Tell a pipeline of every fork from now on, and of the process's end."""
    if not _served:
        atexit.register(_at_exit)
    _served.append(pipeline)


def is_exiting():
    """Return whether the interpreter is on its way out, so that no thread should start."""
    return _Phase.exiting


def finish_all(seconds, when_goodbyes_are_said=None):
    """Let every pipeline of this process deliver and close, all within `seconds`."""
    until = monotonic() + seconds
    for pipeline in list(_served):
        _guarded(pipeline.say_goodbye)
    if when_goodbyes_are_said is not None:
        when_goodbyes_are_said()
    for pipeline in list(_served):
        _guarded(pipeline.finish, until)


def _guarded(step, *arguments):
    """Let no pipeline's trouble keep the others from their goodbye."""
    try:
        step(*arguments)
    except Exception:
        LOGGER.exception("a fault in datacat itself at the process's end; please report it")


def _at_exit():
    _Phase.exiting = True
    finish_all(EXIT_SECONDS)


# Fork


class _Frozen(threading.local):
    """The locks that a thread has taken for its fork: several threads may be about to fork."""

    def __init__(self):
        super(_Frozen, self).__init__()
        self.locks = []


_frozen = _Frozen()


def _freeze():
    # sqlite's mutexes do not survive a fork in the middle of a call: no thread may be in one.
    _take(process_lock())
    for pipeline in list(_served):
        for lock in pipeline.locks_over_sqlite():
            _take(lock)


def _take(lock):
    # On the list first: a signal handler may raise before the lock's taker knows that he has it.
    if not locks.is_owned(lock):
        _frozen.locks.append(lock)
        locks.acquire_within(lock, _FREEZE_SECONDS)


def _thaw():
    while _frozen.locks:
        locks.release_if_owned(_frozen.locks[-1])
        _frozen.locks.pop()
    for pipeline in list(_served):
        pipeline.forked()


def _after_fork_in_child():
    del _frozen.locks[:]


if _compat.SUPPORTS_FORK_HOOKS:
    # Twice, for a signal handler may raise in one: Python ignores that, and calls the next.
    for _ in range(2):
        os.register_at_fork(
            before=_freeze, after_in_parent=_thaw, after_in_child=_after_fork_in_child
        )


# Signals


def end_on_signals(numbers):
    """Finish all at these signals, then do what was done at them before.

    A second signal while that lasts does it at once.
    """
    for number in numbers:
        if number in _handlers_before:
            continue
        _handlers_before[number] = signal.getsignal(number)
        try:
            signal.signal(number, _on_signal)
        except ValueError:
            del _handlers_before[number]
            LOGGER.warning(
                "end_on_signals has no effect on signal %d: Python sets signal handlers in the "
                "main thread only; call create_session there",
                number,
            )


def _on_signal(number, frame):
    finishing = _Phase.finishing
    if finishing is None:
        finishing = _Phase.finishing = _Finishing(number)
        if not finishing.is_done_with():
            return
    _Phase.finishing = None
    _as_before(number, frame)


class _Finishing(object):
    """Finishes all at a signal, in a thread of its own.

    The thread that the signal interrupted may be inside a log call and hold the lock that is
    needed here: then the handler must return, and the signal is sent again at the end.
    """

    def __init__(self, number):
        self._number = number
        self._said_goodbye = threading.Event()
        self._over = False
        self._left_alone = False
        self._thread = threading.Thread(target=self._run, name="datacat-finishing")
        self._thread.daemon = True

    def is_done_with(self):
        """Start, and return whether the handler may go on: it is over, or never will be."""
        if not _compat.start_thread(self._thread):
            return True
        if self._said_goodbye.wait(_GOODBYE_SECONDS) or self._said_goodbye.is_set():
            self._thread.join(EXIT_SECONDS)
            return True
        self._left_alone = True
        return self._over

    def _run(self):
        try:
            finish_all(EXIT_SECONDS, self._said_goodbye.set)
        finally:
            self._over = True
            if self._left_alone:
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
        # There, os.kill would end the process and call no handler.
        signal.raise_signal(number)
