"""Direct calls: each returns the server's answer, or raises. No queue, no thread.

Belongs here: the server's operations as methods, and retrying what is safe to repeat.  Does not:
keeping records, and decisions about them (see `sending`).
"""

from __future__ import absolute_import, division

import random
import sys
import time
import uuid

from datacat import checks
from datacat import settings as settings_module
from datacat._compat import monotonic
from datacat.errors import DatacatError, NotSent, OperationUnknown, ServerBusy, ServerFault
from datacat.notices import Notices, quiet
from datacat.records import build, exceptions, kinds, redaction
from datacat.wire import answers, backoff, dialects

_ATTEMPTS = 4
_LONGEST_SHORT_ANSWER = 64 * 1024
_LONGEST_SESSION = 64 * 1024 * 1024
_MICROSECONDS = 10**6


class DatacatClient(object):
    """The server's operations, one call each. Safe to use from many threads.

    Retries requests that certainly had no effect, and transient failures of repeatable calls
    (reading, updating state), with backoff and within the settings' `deadline`. The server's
    generation, classic or v1, is found out when first needed.

    A record that the settings' `before_record` drops is not sent; the call returns None.

    The methods that make requests raise a `DatacatError` whose class says what happened (see
    `errors`).

    :param base_url: the server's URL (str), by default DATACAT_URL or http://localhost:8080; or
        `Settings`.
    :param options: the same as those of `create_session`.
    :raises InvalidSettings: if an option cannot work.
    :raises TypeError: if an option does not exist.
    :ivar settings: the `Settings` in use.
    :ivar before_write: a callable (session id), called before each request that writes to a
        session; or None.
    """

    def __init__(self, base_url=None, **options):
        ready = isinstance(base_url, settings_module.Settings)
        self.settings = base_url if ready else settings_module.resolve(base_url, **options)
        self.before_write = None
        self._warn = Notices()
        self._redact = redaction.make(self.settings, self._warn)
        # Imported late, so that `import datacat` does not import requests.
        from datacat.wire import importing
        from datacat.wire.transport import Transport

        importing.exchanges()
        self._transport = Transport(self.settings)
        self._dialect = None

    def __repr__(self):
        return "<DatacatClient %s>" % self.settings.base_url

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close idle connections. A later call opens new ones."""
        self._transport.close()

    def create_session(self, product=None, version=None):
        """Create a session and return its id (str).

        :param product: the application's name (str), by default the settings'.
        :param version: its version (str), by default the settings'.
        :raises InvalidArgument: if one is not a non-empty string.
        :raises DatacatError: if the server could not be asked, or refused.
        """
        settings = self.settings
        fields = build.opening(
            settings.product if product is None else product,
            settings.version if version is None else version,
            hostname=settings.hostname,
            machine_id=settings.machine_id,
        )
        fields = redaction.never_dropped(self._redact, kinds.OPEN, fields)
        return self._exchange(dialects.CLASSIC.open(build.encode(fields)))["session_id"]

    register_session = create_session

    def get_session(self, session_id, timeout=None):
        """Return everything that the server has of a session (dict).

        :param session_id: the id that `create_session` returned (str).
        :param timeout: seconds for the whole call (float), by default the settings' `deadline`.
        :raises InvalidArgument: if the id cannot be one, or `timeout` is no number, 0 or more.
        :raises SessionNotFound: if the server does not know the session.
        :raises DatacatError: if it could not be asked.
        """
        seconds = None if timeout is None else checks.timeout(timeout)
        return self._exchange(
            dialects.CLASSIC.read(session_id), limit=_LONGEST_SESSION, seconds=seconds
        )

    def get_all_sessions(self):
        """Return all sessions of the server (list of dicts).

        :raises DatacatError: if it could not be asked.
        """
        likely, other = dialects.CLASSIC, dialects.V1
        if self._is_known_as_v1():
            likely, other = other, likely
        try:
            return self._exchange(likely.listing(), limit=_LONGEST_SESSION)
        except OperationUnknown:
            return self._exchange(other.listing(), limit=_LONGEST_SESSION)

    def update_state(self, session_id, state):
        """Merge a state into the session's and return the server's answer (dict).

        :param session_id: the id that `create_session` returned (str).
        :param state: a dict; dicts are merged key by key, everything else replaces.
        :raises InvalidArgument: if it is not a dict or has over 1 MiB encoded, or if the id cannot
            be one.
        :raises SessionNotFound: if the server does not know the session.
        :raises DatacatError: if the server could not be asked, or refused.
        """
        return self._write(session_id, kinds.STATE, build.state(state))

    def log_event(
        self,
        session_id,
        name,
        data=None,
        category=None,
        group=None,
        labels=None,
        message=None,
        stacktrace=None,
    ):
        """Log an event and return the server's answer (dict).

        Takes these arguments of `Session.log_event`, and raises as `update_state` does.
        """
        fields = build.event(
            name,
            data,
            category=category,
            group=group,
            labels=labels,
            message=message,
            stacktrace=stacktrace,
        )
        return self._write(session_id, kinds.EVENT, fields)

    def log_metric(
        self,
        session_id,
        name,
        value,
        tags=None,
        type=None,
        unit=None,
        count=None,
        metadata=None,
        metric_type=None,
    ):
        """Log a metric and return the server's answer (dict).

        Takes these arguments of `Session.log_metric`, and raises as `update_state` does.
        """
        fields = build.metric(
            name,
            value,
            tags,
            type=metric_type if type is None else type,
            unit=unit,
            count=count,
            metadata=metadata,
        )
        return self._write(session_id, kinds.METRIC, fields)

    def log_exception(self, session_id, extra_data=None, exc_info=None):
        """Log an exception, by default the one being handled; return the server's answer (dict).

        Takes an exception as its second argument, too, as `Session.log_exception` does.

        :param session_id: the id that `create_session` returned (str).
        :param extra_data: merged into the event's data (dict or None).
        :param exc_info: an exception, or a tuple as from `sys.exc_info()`.
        :raises InvalidArgument: if the id cannot be one.
        :raises SessionNotFound: if the server does not know the session.
        :raises DatacatError: if the server could not be asked, or refused.
        """
        told, extra_data = exceptions.sort_out(extra_data, exc_info, sys.exc_info())
        if not exceptions.is_told(told):
            self._warn(*exceptions.NOTHING_TO_TELL)
        return self._write(session_id, kinds.EXCEPTION, exceptions.exception(told, extra_data))

    def end_session(self, session_id):
        """End a session and return the server's answer (dict).

        :param session_id: the id that `create_session` returned (str).
        :raises InvalidArgument: if the id cannot be one.
        :raises SessionNotFound: if the server does not know the session.
        :raises DatacatError: if the server could not be asked, or refused.
        """
        return self._write(session_id, kinds.END, {})

    def _write(self, session_id, kind, fields):
        body = self._body(kind, fields)
        if body is None:
            return None
        captured = int(time.time() * _MICROSECONDS)
        digits = uuid.uuid4().int % 1000
        record = kinds.Record(None, None, kind, body, captured, digits)
        dialect = self._dialect_for(session_id)
        request = dialect.send(record, session_id, fold=self.settings.fold_fields)
        if self.before_write is not None:
            self.before_write(session_id)
        return self._exchange(request)

    def _body(self, kind, fields):
        """Return a record's body (bytes), or None if `before_record` drops it."""
        if kind == kinds.END:
            return build.encode(redaction.never_dropped(self._redact, kind, fields))
        encode = exceptions.encode_cut if kind == kinds.EXCEPTION else build.encode
        if self._redact is None:
            return encode(fields)
        return self._redact.body(kind, fields, encode)

    def _dialect_for(self, session_id):
        """Return the server's dialect, recognised by `/health` or else by a session's fields."""
        if self.settings.disabled:
            return dialects.V1
        dialect = self._dialect
        if dialect is None:
            dialect = (
                dialects.V1
                if self._is_known_as_v1()
                else (answers.recognise_session(self.get_session(session_id)))
            )
            self._dialect = dialect
        return dialect

    def _is_known_as_v1(self):
        if self._dialect is None and self._exchange(dialects.health(), meaning=_is_v1s_health):
            self._dialect = dialects.V1
        return self._dialect is dialects.V1

    def _exchange(
        self, request, meaning=answers.answer, limit=_LONGEST_SHORT_ANSWER, seconds=None
    ):
        if self.settings.disabled:
            return _answer_of_nobody(request)
        if seconds is None:
            seconds = self.settings.deadline + self._transport.allowance(request.body)
        until = monotonic() + seconds
        attempt = 0
        while True:
            attempt += 1
            left = until - monotonic()
            try:
                # A handler of the application's log may be the caller, and would be called again.
                with quiet():
                    answer = self._transport.call(request, deadline=left, limit=limit)
                return meaning(request, answer)
            except DatacatError as error:
                if isinstance(error, NotSent):
                    self._dialect = None
                pause = _pause(error, attempt)
                if (
                    attempt == _ATTEMPTS
                    or not _is_worth_repeating(request, error)
                    or monotonic() + pause >= until
                ):
                    raise
            time.sleep(pause)


def _is_worth_repeating(request, error):
    return error.retriable and (request.repeatable or isinstance(error, NotSent))


def _pause(error, attempt):
    if error.retry_after is not None:
        return error.retry_after
    return backoff.backoff(attempt, random.random)


def _is_v1s_health(request, response):
    try:
        return bool(answers.answer(request, response))
    except (ServerBusy, ServerFault):
        raise
    except DatacatError:
        return False


def _answer_of_nobody(request):
    """Return what a call gets if datacat is disabled: nothing is sent, nothing fails."""
    listings = (dialects.CLASSIC.listing(), dialects.V1.listing())
    if request in listings:
        return []
    if request.method == "GET":
        return {"id": request.path.rsplit("/", 1)[1]}
    return {"status": "ok", "session_id": "disabled"}
