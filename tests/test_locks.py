"""Locks that signal handlers may use."""

from __future__ import absolute_import, division

import os
import sys

import pytest

from datacat.locks import ReentrantLock


@pytest.mark.skipif(os.name != "posix", reason="needs SIGALRM")
def test_a_signal_handler_between_any_two_lines_of_the_lock_leaves_it_consistent():
    """Such a handler can make 2.7's own RLock release twice; ours is traced line by line."""
    lock = ReentrantLock()
    codes = [getattr(ReentrantLock, name) for name in ("acquire", "release")]
    codes = set(getattr(method, "__func__", method).__code__ for method in codes)
    interrupted = []

    def trace(frame, event, _):
        if frame.f_code not in codes:
            return None
        if event == "line":
            interrupted.append(frame.f_lineno)
            sys.settrace(None)
            if lock.acquire(False):
                lock.release()
            sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for _ in range(3):
            lock.acquire()
            lock.acquire()
            lock.release()
            lock.release()
    finally:
        sys.settrace(before)
    assert len(interrupted) > 20
    assert lock._depth == 0 and not lock._is_owned() and lock.acquire(False)
