"""What an application says through its session: the calls that record something.

Belongs here: these calls, their checks and their promises.  Does not: metrics that add up (see
`meters`), the session's life (see `session`), and how a record is kept or sent.
"""

from __future__ import absolute_import, division

import sys

from .meters import Meters
from .process import recording
from .records import build, kinds
from .stack import FatalOverflow, call_with_room


class Recorder(Meters):
    """The log calls of a `Session`, which sets `_membership`.  Every method is thread-safe.

    They write the record to disk and return None; it is sent in the background.  They raise
    InvalidArgument for what cannot be recorded, never for trouble with the disk or the network.
    """

    def log_event(
        self,
        name,
        data=None,
        category=None,
        group=None,
        labels=None,
        message=None,
        source=None,
        stacktrace=None,
        level=None,
    ):
        """Log an event.

        :param name: a non-empty string.
        :param data: a dict, or None; values that JSON lacks are converted (see the README).
        :param category, group, message: strings or None.
        :param labels: a list, tuple or set of strings, or None.
        :param source: where it was logged: (file, line, function), or None.
        :param stacktrace: a list of strings, or None.  Classic servers get these six in `data`
            (see `fold_fields` in the README).
        :param level: another name for `category`.
        :raises InvalidArgument: if an argument has another type, or the record has over 1 MiB
            encoded.
        """
        given = (
            name,
            data,
            level if category is None else category,
            group,
            labels,
            message,
            source,
            stacktrace,
        )
        try:
            recording.record(self._membership, kinds.EVENT, build.event, given)
        except Exception:
            if not self._is_finalizing():
                raise

    def log_metric(
        self,
        name,
        value,
        tags=None,
        type=None,
        unit=None,
        count=None,
        metadata=None,
        metric_type=None,
        delta=None,
    ):
        """Log a metric.

        :param name: a non-empty string.
        :param value: a finite number.
        :param tags: a list, tuple or set of strings, a dict ({"a": "b"} means ["a:b"]), or None.
        :param type: "gauge", "counter", "histogram" or "timer" (str or None).
        :param unit: the unit of `value` (str or None).
        :param count: how many observations `value` sums up (int or None).
        :param metadata: a dict, or None.  Classic servers get this and the three before as tags
            (see `fold_fields` in the README).
        :param metric_type: another name for `type`.
        :param delta: what to add to a counter (number): `log_counter(name, delta, tags)`, and no
            other argument is used; or None.
        :raises InvalidArgument: if an argument has another type, or the record has over 1 MiB
            encoded.
        """
        if delta is not None:
            return self.log_counter(name, delta, tags)
        given = name, value, tags, metric_type if type is None else type, unit, count, metadata
        try:
            recording.record(self._membership, kinds.METRIC, build.metric, given)
        except Exception:
            if not self._is_finalizing():
                raise

    def log_exception(
        self, extra_data=None, exc_info=None, category=None, group=None, message=None
    ):
        """Log an exception with its traceback, by default the one being handled; never raises.

        But for RecursionError on Python 3.6 to 3.9, where nothing can be called any more.

        Also as `log_exception(error)` and `log_exception(error, extra_data)`.  If the session has
        told it before, it is counted, and what the call brings is an event `exception_seen_again`.

        :param extra_data: a dict to merge into the event's data, or None.
        :param exc_info: an exception, or a tuple as from `sys.exc_info()`.
        :param category, group, message: the event's (strings), or None.
        """
        try:
            given, more = (extra_data, exc_info, sys.exc_info()), (category, group, message)
            call_with_room(recording.tell, self._membership, [], given, more)
        except Exception as error:
            # There is neither stack nor a thread, or not even this module's globals any more:
            # nothing can be recorded from here.
            if FatalOverflow and isinstance(error, FatalOverflow):
                raise

    def update_state(self, state):
        """Merge a dict into the session's state: dicts key by key, everything else replaces.

        :param state: a dict.
        :raises InvalidArgument: if it is not a dict, or has over 1 MiB encoded.
        """
        try:
            recording.record(self._membership, kinds.STATE, build.state, (state,))
        except Exception:
            if not self._is_finalizing():
                raise

    def install_exception_hooks(self, sys=True, threads=True, unraisable=True):
        """Log exceptions that nothing handles, from now on, with `handled: False` in their data.

        What was hooked before is still called.  SystemExit and KeyboardInterrupt are left alone.
        Call this in one thread at a time.

        :param sys: whether to log those that end the program (bool).
        :param threads: those that end a thread; before Python 3.8 one that is started later.
        :param unraisable: those that Python ignores, as in `__del__`; nothing before Python 3.8.
        :returns: an object whose `uninstall()` undoes this; also a context manager that does.
        """
        from .process import hooks

        return hooks.install(self, self._membership, sys, threads, unraisable)

    def enable_faulthandler(self):
        """Have the report of a native crash, such as a segfault, carry the stacks of all threads.

        Python's `faulthandler` writes them to a file beside the outbox, and the next run sends
        them.  It is enabled for one session of a process at a time, until that is ended or closed,
        and in a forked child from its first log call on.  Undone by `faulthandler.disable()`.

        :returns: whether it is enabled for this session (bool).  If not, a warning says why: the
            program has enabled it already, another session has, the records are in memory only,
            recording is off, the session is over, or this Python has none (2.7).
        """
        from .process import native

        return native.enable(self._membership)

    def monitor_process(self, interval=15):
        """Log what this process uses, every `interval` seconds until the session is over.

        As gauges: `process_cpu` (percent of one processor), `process_memory` (bytes),
        `process_threads` and `process_descriptors` (on Windows: handles).  A forked child is
        not measured, unless it calls this itself; its gauges have a tag `process:<id>` then.  A
        second call replaces the first.

        :param interval: seconds (number); the first gauges come after as many.
        :returns: an object whose `stop()` ends this; also a context manager that does.
        :raises InvalidArgument: if `interval` is not a positive finite number.
        :raises ImportError: if psutil is missing; the extra `process` installs it.
        """
        from .process import monitor

        return monitor.start(self._membership, interval)
