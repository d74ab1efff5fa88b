"""A handler for Python's `logging`, through which an application's log becomes events.

Belongs here: a log record as an event.  Does not: which log messages the library writes itself.

Theory of operation

1. A thread may log while the handler is at work in it: in a value's `__str__`, a formatter, a
   signal handler.  That waits until the record is kept, and is handled then; what is logged during
   that is left to other handlers, or it would never end.  So is what `before_record` logs of a
   record of the handler's: it would make two records of each.
2. The library's own threads would log at every request, and each of these records would need a
   request.  So what they log is left out, whoever wrote it, even if it comes here through a queue:
   the record names its thread.
3. No lock is held while a record is kept, as `logging` does for other handlers: `before_record`
   may wait for another thread that logs.
"""

from __future__ import absolute_import, division

import collections
import copy
import logging
import os
import sys
import threading

import six

import datacat

_OWN_THREADS = "datacat-"
_CALLS_BEFORE_RECORD = "datacat.records.before_record"
_MOST_DEFERRED = 100
_LONGEST_TEXT = 100000
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | frozenset(
    ("message", "asctime", "exc_text", "stack_info", "taskName")
)


class DatacatHandler(logging.Handler):
    """Logs each record as an event `log`, and one with an exception as that exception.

    Level, logger and text become category, group and message; what `extra=` brought becomes data.
    Thread-safe; also in signal handlers and forked children.

    :param session: a Session.  None: the handler opens one of its own at the first record, ends it
        when it is closed, and never waits for the server.
    :param level: of the least severe records to log (int or name).
    :param exceptions: whether a record's exception is logged (bool), as by `log_exception`.
    :param ignore: names of loggers that are left out, with all below them (strings).
    :param url, options: for a session of its own, as those of `create_session`.
    :raises InvalidArgument: if both a session and options for one are given.
    """

    def __init__(
        self,
        session=None,
        level=logging.INFO,
        exceptions=True,
        ignore=("datacat", "urllib3", "requests"),
        url=None,
        **options
    ):
        logging.Handler.__init__(self, level)
        if session is not None and (url is not None or options):
            raise datacat.InvalidArgument(
                "DatacatHandler takes a session, or url and options for one of its own, not both"
            )
        self._exceptions = exceptions
        ignored = (ignore,) if isinstance(ignore, six.string_types) else ignore
        self._ignored = tuple(name + "." for name in ignored)
        self._source = _Given(session) if session is not None else _Own(url, options)
        self._here = threading.local()

    def handle(self, record):
        """Log a record, unless the handler's level, `ignore` or its filters leave it out."""
        if record.levelno < self.level or self._is_ours(record):
            return False
        waiting = getattr(self._here, "waiting", None)
        if waiting is not None:
            if not _is_in_before_record():
                waiting.append(record)
            return True
        return self._handle_with_followers(record)

    def _is_ours(self, record):
        # Both may be None in a record that no logger made.
        thread, logger = record.threadName or "", (record.name or "") + "."
        return thread.startswith(_OWN_THREADS) or logger.startswith(self._ignored)

    def _handle_with_followers(self, record):
        here = self._here
        try:
            here.waiting = collections.deque(maxlen=_MOST_DEFERRED)
            is_wanted = self._handle_alone(record)
            followers = here.waiting
            here.waiting = collections.deque(maxlen=0)
            while followers:
                self._handle_alone(followers.popleft())
            return is_wanted
        finally:
            here.waiting = None

    def _handle_alone(self, record):
        try:
            wanted = self.filter(record)
            if wanted:
                # Since Python 3.12, a filter may return another record.
                self.emit(wanted if isinstance(wanted, logging.LogRecord) else record)
            return wanted
        except Exception:
            self.handleError(record)
            return False

    def emit(self, record):
        """Log a record, whatever its level."""
        session = self._source.session()
        data, text = _data_of(record), self._text(record)
        category, group = record.levelname.lower(), record.name
        if self._exceptions and _has_exception(record):
            session.log_exception(data, record.exc_info, category, group, text)
            return
        source = (record.pathname, record.lineno, record.funcName)
        event = {"category": category, "group": group, "message": text, "source": source}
        try:
            session.log_event("log", data, **event)
        except datacat.InvalidArgument as error:
            # Such as data of more than 1 MiB.
            session.log_event("log", {"not_logged": str(error)[:_LONGEST_TEXT]}, **event)

    def _text(self, record):
        if self.formatter is not None:
            # Without the traceback, which the formatter would append.
            record = copy.copy(record)
            record.exc_info = record.exc_text = record.stack_info = None
            text = self.format(record)
        elif isinstance(record.msg, dict) and "event" in record.msg:
            text = record.msg["event"]  # structlog's
        else:
            text = record.getMessage()
        text = text if isinstance(text, six.string_types) else six.text_type(text)
        left_out = len(text) - _LONGEST_TEXT
        return text if left_out <= 0 else text[:_LONGEST_TEXT] + " <%d more>" % left_out

    def flush(self):
        """Do nothing: what was logged is kept, and is sent in the background."""

    def close(self):
        """End the handler's own session, if it has one, without waiting for the server."""
        self._source.close()
        logging.Handler.close(self)


def _is_in_before_record():
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == _CALLS_BEFORE_RECORD:
            return True
        frame = frame.f_back
    return False


def _has_exception(record):
    given = record.exc_info
    if isinstance(given, tuple):
        return len(given) == 3 and given[1] is not None
    return isinstance(given, BaseException)


def _data_of(record):
    """Return what a log record has and others do not: that of `extra=`, and a stack."""
    data = dict(
        (name, value)
        for name, value in vars(record).items()
        if name not in _OF_EVERY_RECORD and not name.startswith("_")
    )
    if getattr(record, "stack_info", None):
        data.setdefault("stack", record.stack_info)
    if isinstance(record.msg, dict):
        data.update(record.msg)  # structlog's
    # loguru's
    return data["extra"] if list(data) == ["extra"] and isinstance(data["extra"], dict) else data


class _Given(object):
    """The application's session, which it ends itself."""

    def __init__(self, session):
        self._session = session

    def session(self):
        return self._session

    def close(self):
        pass


class _Own(object):
    """A session of the handler's, opened at the first record."""

    def __init__(self, url, options):
        self._url = url
        self._options = dict({"connect_wait": 0}, **options)
        self._session = None
        # One per process: another thread of the parent may have held it at the fork.
        self._locks = {}

    def session(self):
        if self._session is None:
            with self._locks.setdefault(os.getpid(), threading.RLock()):
                if self._session is None:
                    self._session = datacat.create_session(self._url, **self._options)
        return self._session

    def close(self):
        if self._session is not None:
            self._session.end(timeout=0)
