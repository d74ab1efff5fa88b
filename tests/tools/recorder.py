"""The application's side: calls the library and records what it accepted in a file.

The file is right whatever kills the application: a line before each call says what is tried, a
line after it that the call returned, or what it raised.  Each line is one unbuffered write in
append mode, so that threads and forked children may share the file.  A kill may still cut a line
short; the next recorder then leaves an empty line after it.
"""

from __future__ import absolute_import, division

import itertools
import json
import os
import signal

from datacat._compat import monotonic
from tools.call_times import Asking

MARK = "mark"
# An option for sessions that record many exceptions: those of a Recorder are all alike.
EVERY_EXCEPTION = {"exception": None}


class Recorder(object):
    """Logs to `session` (or anything with its methods) and records it in the file `accepted`.

    Every record gets a unique mark, by which it is found on the server: a key "mark" in data and
    state, a tag "mark:..." on metrics. writer: a name unique among the recorders of one test.
    label: which records belong together, by default the session's local id. die_after: how many
    calls return before the process kills itself (SIGKILL).
    """

    def __init__(self, session, accepted, writer, label=None, die_after=None):
        self.session = session
        self._label = label
        self._writer = writer
        self._numbers = itertools.count(1)
        self._returned = itertools.count(1)
        self._die_after = die_after
        self._file = os.open(accepted, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        if not _is_whole(accepted):
            os.write(self._file, b"\n\n")

    @property
    def label(self):
        """Which records belong together."""
        return self._label or self.session.local_id

    def log_event(self, name, data=None, **extras):
        """Log an event and record it; `data` gets the mark."""
        mark = self._new_mark()
        data = dict(data or {})
        data[MARK] = mark
        fields = dict(extras, name=name, data=data)
        self._call(mark, "event", fields, lambda: self.session.log_event(name, data, **extras))

    def log_metric(self, name, value, tags=None, **extras):
        """Log a metric and record it; the mark is appended to `tags`."""
        mark = self._new_mark()
        tags = list(tags or ()) + ["%s:%s" % (MARK, mark)]
        fields = dict(extras, name=name, value=value, tags=tags)
        self._call(
            mark,
            "metric",
            fields,
            lambda: self.session.log_metric(name, value, tags=tags, **extras),
        )

    def update_state(self, state):
        """Update the state and record it; the mark is its top-level key "mark"."""
        mark = self._new_mark()
        state = dict(state)
        state[MARK] = mark
        self._call(mark, "state", state, lambda: self.session.update_state(state))

    def log_exception(self, error, extra_data=None):
        """Raise `error`, log it while handling it, and record it; `extra_data` gets the mark."""
        mark = self._new_mark()
        extra_data = dict(extra_data or {})
        extra_data[MARK] = mark
        fields = {
            "name": "exception",
            "data": dict(extra_data, type=type(error).__name__, message=str(error)),
        }
        try:
            raise error
        except type(error):
            self._call(
                mark,
                "exception",
                fields,
                lambda: self.session.log_exception(extra_data=extra_data),
            )

    def close(self):
        """Close the file; nothing can be logged afterwards."""
        os.close(self._file)

    def _new_mark(self):
        return "%s.%d.%d" % (self._writer, os.getpid(), next(self._numbers))

    def _call(self, mark, kind, fields, call):
        self._write({"trying": mark, "session": self.label, "kind": kind, "fields": fields})
        times = _Times()
        try:
            call()
        except BaseException as error:
            self._write(dict(times.of("raised", mark), error=repr(error)))
            raise
        self._write(times.of("returned", mark))
        if next(self._returned) == self._die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def _write(self, line):
        os.write(self._file, (json.dumps(line) + "\n").encode("ascii"))


def _is_whole(name):
    """Return whether a file is empty or ends with the end of a line."""
    with open(name, "rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - 1))
        return stream.read(1) in (b"", b"\n")


class _Times(object):
    """When a call began and ended, and how long it asked to wait for locks."""

    def __init__(self):
        self._asking = Asking()
        self._began = monotonic()

    def of(self, outcome, mark):
        """Return the line for a call that has just ended."""
        ended = monotonic()
        return {
            outcome: mark,
            "began": self._began,
            "ended": ended,
            "asked": self._asking.end(),
        }
