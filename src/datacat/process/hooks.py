"""Exceptions that nothing handles: `install_exception_hooks`.

Belongs here: Python's hooks for them, and a stand-in for the one that Python before 3.8 lacks.
Does not: what is recorded of an exception, and whether it was told before.

What runs while the interpreter ends uses attributes and arguments only: Python 2 takes the globals
of a module away then.
"""

from __future__ import absolute_import, division

import functools
import sys
import threading
import weakref

from .._compat import is_finalizing
from ..records import jsonable
from ..stack import FatalOverflow, call_with_room
from . import recording


def install(session, membership, sys, threads, unraisable):
    """Log what nothing handles.

    :param session: a Session; it lives as long as the hooks.
    :param membership: its Membership.
    :param sys, threads, unraisable: which hooks to install (bools).
    :returns: ExceptionHooks.
    """
    wanted = ((sys, _SysHook), (threads, _thread_hook()), (unraisable, _UnraisableHook))
    classes = [hook for is_wanted, hook in wanted if is_wanted and hook.is_there()]
    return ExceptionHooks(session, [hook(membership) for hook in classes])


def _thread_hook():
    return _ThreadingHook if _ThreadingHook.is_there() else _ThreadStart


class ExceptionHooks(object):
    """Hooks that are installed until `uninstall`, or until the end of a `with` block.

    An exception that leaves the block is not theirs.
    """

    def __init__(self, session, hooks):
        self._session = session
        self._hooks = hooks

    def uninstall(self):
        """Log nothing any more, and restore what is still as it was installed."""
        while self._hooks:
            self._hooks.pop().remove()
        self._session = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.uninstall()


class _Hook(object):
    """A function of Python's that another one stands in for.

    If a hook of somebody else's was installed after it, it cannot be removed from the middle, and
    only passes on what it is called with.
    """

    # Where it is, and what it is called there.
    place = name = mechanism = None

    def __init__(self, membership):
        self._membership = membership
        self._is_finalizing = is_finalizing
        self.before = self.current()
        self._stand_in = self.stand_in()
        setattr(self.place, self.name, self._stand_in)

    @classmethod
    def is_there(cls):
        """Return whether this Python has it."""
        return hasattr(cls.place, cls.name)

    def current(self):
        """Return what is in its place now."""
        return getattr(self.place, self.name, None)

    def stand_in(self):
        """Return what to put in its place."""
        return self.call

    def remove(self):
        """Log nothing any more, and restore what was there, if nothing else was put there."""
        self._membership = None
        if self.current() is self._stand_in:
            setattr(self.place, self.name, self.before)

    def listens_to(self, kind):
        """Return whether to log an exception of a class.

        Not those that end the program on purpose, nor what goes wrong because it has ended.
        """
        if self._membership is None or self._is_finalizing():
            return False
        return kind is not None and not issubclass(kind, (SystemExit, KeyboardInterrupt))

    def tell(self, exc_info, **data):
        """Log an exception to which it listens."""
        membership = self._membership
        if membership is not None and self.listens_to(exc_info[0]):
            data = dict(data, handled=False, mechanism=self.mechanism)
            try:
                given = (data, exc_info, None)
                call_with_room(recording.tell, membership, [], given, recording.NO_MORE, False)
            except FatalOverflow:
                raise
            except Exception:
                pass  # there is neither stack nor a thread


class _SysHook(_Hook):
    """An exception ends the program, or a statement at the prompt."""

    place, name, mechanism = sys, "excepthook", "sys.excepthook"

    def call(self, kind, error, trace):
        self.tell((kind, error, trace))
        (self.before or sys.__excepthook__)(kind, error, trace)


class _ThreadingHook(_Hook):
    """An exception ends a thread; since Python 3.8."""

    place, name, mechanism = threading, "excepthook", "threading.excepthook"

    def call(self, hooked):
        thread = getattr(hooked.thread, "name", None)
        self.tell((hooked.exc_type, hooked.exc_value, hooked.exc_traceback), thread=thread)
        if self.before is not None:
            self.before(hooked)


class _UnraisableHook(_Hook):
    """Python ignores an exception, as in `__del__`; since Python 3.8."""

    place, name, mechanism = sys, "unraisablehook", "sys.unraisablehook"

    def call(self, hooked):
        if self.listens_to(hooked.exc_type):
            self.tell(
                (hooked.exc_type, hooked.exc_value, hooked.exc_traceback),
                # As text: nothing may keep the object, which may be about to go.
                object=jsonable.text_of(repr, hooked.object),
                error_message=hooked.err_msg,
            )
        (self.before or sys.__unraisablehook__)(hooked)


class _ThreadStart(_Hook):
    """`threading.Thread.start`, which gives the thread a `run` that logs; before Python 3.8.

    Not `Thread.run`, which most subclasses override.
    """

    place, name, mechanism = threading.Thread, "start", "threading.Thread.run"

    def current(self):
        # Not a method, which Python 2 makes anew each time.
        return vars(threading.Thread)["start"]

    def stand_in(self):
        before, watch = self.before, self._watch

        @functools.wraps(before)
        def start(thread, *arguments, **options):
            watch(thread)
            return before(thread, *arguments, **options)

        return start

    def _watch(self, thread):
        if self._membership is not None:
            # A bound method would be a cycle, and keep the thread from being freed.
            own = vars(thread).get("run")
            thread.run = functools.partial(_run, self, weakref.ref(thread), own)


def _run(hook, reference, own, exc_info=sys.exc_info):
    """Run a thread, and log the exception that ends it.

    :param own: the `run` of this thread alone; None: that of its class.
    """
    thread = reference()
    try:
        if own is None:
            type(thread).run(thread)
        else:
            own()
    except:  # Python 2 can raise what is no BaseException
        hook.tell(exc_info(), thread=thread.name)
        raise
