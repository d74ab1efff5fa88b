"""The application's side: calls the library and writes down what the library accepted.

The file tells the truth whatever kills the application: a line before each call says what is
tried, a line after it that the call returned or what it raised. Lines are single unbuffered
writes in append mode, so that threads and forked children may share the file.
"""

from __future__ import absolute_import, division

import itertools
import json
import os
import signal

from datacat._compat import monotonic
from tools.call_times import Starving

MARK = "mark"


class Recorder(object):
    """Records into `session` (or what looks like one) and into the file `accepted`.

    Every record gets a mark of its own, by which the server's side is told apart: a key "mark"
    in data and state, a tag "mark:..." on metrics. writer: a name unique among the recorders of
    one test. label: whose records belong together; default is the session's local id.
    die_after: the process kills itself (SIGKILL) when so many calls have returned.
    """

    def __init__(self, session, accepted, writer, label=None, die_after=None):
        self.session = session
        self._label = label
        self._writer = writer
        self._numbers = itertools.count(1)
        self._returned = itertools.count(1)
        self._die_after = die_after
        self._file = os.open(accepted, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def log_event(self, name, data=None, **extras):
        """Log an event and write it down; `data` gets the mark."""
        mark = self._new_mark()
        data = dict(data or {})
        data[MARK] = mark
        fields = dict(extras, name=name, data=data)
        self._call(mark, "event", fields, lambda: self.session.log_event(name, data, **extras))

    def log_metric(self, name, value, tags=None, **extras):
        """Log a metric and write it down; `tags` get the mark as their last."""
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
        """Update the state and write it down; the mark becomes its top-level key "mark"."""
        mark = self._new_mark()
        state = dict(state)
        state[MARK] = mark
        self._call(mark, "state", state, lambda: self.session.update_state(state))

    def log_exception(self, error, extra_data=None):
        """Raise `error`, log it from its handler and write it down; `extra_data` gets the mark."""
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

    def _new_mark(self):
        return "%s.%d.%d" % (self._writer, os.getpid(), next(self._numbers))

    def _call(self, mark, kind, fields, call):
        label = self._label or self.session.local_id
        self._write({"trying": mark, "session": label, "kind": kind, "fields": fields})
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


class _Times(object):
    """When a call began, when it ended, and for how long it waited for a processor."""

    def __init__(self):
        self._starving = Starving()
        self._began = monotonic()

    def of(self, outcome, mark):
        """Return the line that tells of a call that has just ended."""
        ended = monotonic()
        return {
            outcome: mark,
            "began": self._began,
            "ended": ended,
            "starved": self._starving.seconds(),
        }
