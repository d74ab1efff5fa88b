"""The differences between Pythons and platforms that `six` does not cover.

Belongs here: names that mean the same on 2.7 and 3, and clocks. Does not: anything that knows
about datacat.
"""

from __future__ import absolute_import, division

import atexit
import functools
import operator
import os
import sys
import threading
import time

try:
    import resource
except ImportError:
    resource = None

import six
from six.moves import _thread

if hasattr(time, "clock_gettime"):
    # Libraries that freeze time for tests replace `time.monotonic`; a wait would never end then.
    monotonic = functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
elif six.PY3:
    monotonic = time.monotonic
else:
    from monotonic import monotonic

# Measures durations: before Python 3.13, the monotonic clock of Windows has a grain of 16 ms.
stopwatch = (
    monotonic if hasattr(time, "clock_gettime") else getattr(time, "perf_counter", monotonic)
)

# Returns seconds since the epoch.  Looked up at each call: a library for tests may freeze time
# after a session was opened.  In C, because each record is stamped by it.
wall_clock = functools.partial(operator.methodcaller("time"), time)

get_ident = _thread.get_ident

SUPPORTS_FORK_HOOKS = hasattr(os, "register_at_fork")
if six.PY3:
    is_finalizing = sys.is_finalizing
else:
    _finalizing = []
    atexit.register(_finalizing.append, True)
    # Bound to the list, for the globals of a module are taken away by then.
    is_finalizing = _finalizing.__len__
# Wraps bytes so that sqlite3 stores a BLOB.
blob = bytes if six.PY3 else buffer  # noqa: F821
# Python 2.7 on Windows replaces nothing, and raises OSError.
replace_file = getattr(os, "replace", os.rename)
CAN_UNLINK_OPEN_FILES = os.name == "posix"

# Since 3.11; `isinstance(error, ())` holds for nothing.
BaseExceptionGroup = getattr(six.moves.builtins, "BaseExceptionGroup", ())
# Before 3.5 it was a plain RuntimeError.
StackExhausted = getattr(six.moves.builtins, "RecursionError", RuntimeError)

# What the application's code may raise in a thread of ours, which has to live on.  Not
# GreenletExit, with which gevent ends one.
ESCAPED = (Exception, SystemExit, KeyboardInterrupt)

_CLOCK_BOOTTIME = 7
_imported = []


def _make_boot_clock():
    if sys.platform.startswith("linux") and hasattr(time, "clock_gettime"):
        clock = functools.partial(time.clock_gettime, _CLOCK_BOOTTIME)
        try:
            clock()
            return clock
        except OSError:
            pass
    return lambda: None


# Returns seconds on a clock that also counts while the machine sleeps, or None if there is none.
# Linux: CLOCK_BOOTTIME (clock_gettime(2)). Elsewhere, Python has none that is known to differ from
# the monotonic one.
boot_clock = _make_boot_clock()


def process_cpu_seconds():
    """Return the user and system CPU time of this process, in seconds."""
    if hasattr(time, "process_time"):
        return time.process_time()
    times = os.times()
    return times[0] + times[1]


def boot_identity():
    """Return a string that is different after each boot, or "" if unknown."""
    try:
        # Not `open`: at exit, it is gone before the last finalizers run.
        descriptor = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY)
    except OSError:
        return ""
    try:
        return str(os.read(descriptor, 100).decode("ascii")).strip()
    finally:
        os.close(descriptor)


def encode_path(path):
    """Return a path, given as text, as the system's bytes.

    :raises UnicodeError: if it cannot be one here.
    """
    if six.PY3:
        return os.fsencode(path)
    is_text = isinstance(path, six.text_type)
    return path.encode(sys.getfilesystemencoding() or "ascii") if is_text else path


def keep_forever(thing):
    """Take a reference to `thing`, so that it is not finalized before `release_kept`."""
    ctypes = _imported_ctypes()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


# Python 2's http.client takes anything for the answer of an HTTP/0.9 server, unless told not to.
STRICT_PARSER = {} if six.PY3 else {"strict": 1}


def start_daemon(thread):
    """Start a thread as a daemon; return None, or the error if it cannot be started.

    The system may be out of threads, an exiting interpreter starts none (3.12), and an isolated
    subinterpreter forbids daemons.
    """
    try:
        thread.daemon = True
        thread.start()
    except (RuntimeError, _thread.error, MemoryError) as error:
        return error
    return None


def release_kept(thing):
    """Release the reference that `keep_forever` took."""
    ctypes = _imported_ctypes()
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(thing))


def _imported_ctypes():
    # Imported late, to keep `import datacat` fast, and kept, because a finalizer that logs during
    # shutdown cannot import.
    if not _imported:
        import ctypes

        _imported.append(ctypes)
    return _imported[0]


def is_main_thread():
    """Return whether this is the thread in which Python calls signal handlers."""
    if six.PY3:
        return threading.current_thread() is threading.main_thread()
    return isinstance(threading.current_thread(), threading._MainThread)


def descriptor_limit():
    """Return how many descriptors this process may have open, or None if that is unknown."""
    if resource is None:
        return None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def disk_space(folder):
    """Return (size, free for this user) of a folder's disk in bytes, or None if unknown."""
    try:
        if hasattr(os, "statvfs"):
            found = os.statvfs(folder)
            return found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail
        if six.PY3:
            import shutil

            found = shutil.disk_usage(folder)
            return found.total, found.free
    except OSError:
        pass
    return None


try:
    from enum import Enum
except ImportError:

    class Enum(object):
        """Stands in for enum34's if that is not installed; nothing is an instance of it."""
