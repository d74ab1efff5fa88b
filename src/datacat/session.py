"""What applications hold in their hands: `create_session` and `Session`.

What may live here: the calls, their checks and their promises.  What may not: how a record is
kept or sent.
"""

from __future__ import absolute_import, division

import numbers
import os
import sys

from . import client as client_module
from . import errors, settings
from ._compat import monotonic
from .records import build, exceptions, kinds

_WHAT_TO_PASS = {
    errors.NotAuthorized: "pass api_key= or set DATACAT_API_KEY",
    errors.RequestRefused: "pass product= and version=, and check base_url",
}


def create_session(base_url=None, product=None, version=None, **options):
    """Open a session and return it; works with the server away as well.

    Waits `connect_wait` seconds (2 by default) at most for the server's id of the session, and
    not at all where the server is known to be away.

    :param base_url: where the server is, by default DATACAT_URL or http://localhost:8080.
    :param product: the application's name, by default DATACAT_PRODUCT or the main program's.
    :param version: its version, by default DATACAT_VERSION or "unknown".
    :param options: api_key, hostname, machine_id, spool_dir, durability, connect_wait, timeout,
        deadline, verify, cert, proxies, trust_env, stamp_late, max_bytes, before_record,
        end_on_signals, disabled; see the README's table.
    :returns: a `Session`.
    :raises InvalidSettings: for options that cannot work.
    :raises NotAuthorized, RequestRefused: where a datacat server refuses the session in its own
        words within that time; nothing of it is kept then.
    """
    for name, value in (("product", product), ("version", version)):
        if value is not None:
            options[name] = value
    resolved = settings.resolve(base_url, **options)
    if resolved.disabled:
        return DisabledSession(resolved)
    # Imported late: `import datacat` must not cost its users what only a session needs.
    from .process import hooks, pipeline

    line = pipeline.obtain(resolved)
    session = Session(line, line.open_session())
    line.hold(session.local_id, session)
    try:
        line.await_id(session.local_id, resolved.connect_wait)
    except errors.DatacatError as refusal:
        error = _with_advice(refusal)
    else:
        hooks.end_on_signals(resolved.end_on_signals)
        return session
    raise error


def _with_advice(refusal):
    advice = _WHAT_TO_PASS.get(type(refusal), "check base_url")
    return type(refusal)(
        "the server refused to open the session: %s" % advice,
        method=refusal.method,
        path=refusal.path,
        status=refusal.status,
        words=refusal.words,
    )


class Session(object):
    """A session of an application.  Made by `create_session`; every method is thread-safe.

    Log calls keep the record on disk and return None; sending is somebody else's business.  They
    raise InvalidRecord for what cannot be recorded, and never for the state of disk or network.
    """

    def __init__(self, line, local_id):
        self._pipeline = line
        self._local_id = local_id
        self._client = None
        self._watchdog = None
        self._watched_in = None

    def __repr__(self):
        return "<datacat session %s at %s>" % (self.session_id, self._pipeline.settings.base_url)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None and isinstance(error, Exception):
            self.log_exception(exc_info=(kind, error, trace))
        if self._pipeline.is_inherited(self._local_id):
            # In a forked child: ending it is the parent's business, unless end() is called.
            self.flush()
        else:
            self.end()

    @property
    def session_id(self):
        """The server's id as soon as it is known, and the local id before (str)."""
        return self._pipeline.server_id(self._local_id) or self._local_id

    @property
    def local_id(self):
        """The id that this process gave the session; never changes (str)."""
        return self._local_id

    @property
    def client(self):
        """A DatacatClient for the same server; who writes through it weakens the promise "once".

        On a classic server only: there a record is known by its place among the others.
        """
        if self._client is None:
            self._client = client_module.DatacatClient(self._pipeline.settings)
            self._client.on_write = self._pipeline.mark_shared
        return self._client

    # Logging

    def log_event(self, name, data=None, category=None, group=None, labels=None, message=None):
        """Log an event.

        :param name: a text that is not empty.
        :param data: a dict; values that JSON lacks are converted (see the README).
        :param category, group, message: texts, labels: a list of texts; for v1 servers.
        :raises InvalidRecord: for anything else, and over 1 MiB encoded.
        """
        self._keep(kinds.EVENT, build.event, (name, data, category, group, labels, message))

    def log_metric(self, name, value, tags=None, type=None, unit=None, count=None, metadata=None):
        """Log a metric.

        :param name: a text that is not empty.
        :param value: a finite number.
        :param tags: a list of texts.
        :param type, unit, count, metadata: for v1 servers, see PROTOCOL "metrics".
        :raises InvalidRecord: for anything else.
        """
        self._keep(kinds.METRIC, build.metric, (name, value, tags, type, unit, count, metadata))

    def log_exception(self, extra_data=None, exc_info=None):
        """Log an exception, by default the one being handled, with its traceback; never raises.

        :param extra_data: a dict that is merged into the event's data.
        :param exc_info: (type, value, traceback).
        """
        self._keep(
            kinds.EXCEPTION,
            exceptions.exception,
            (exc_info or sys.exc_info(), extra_data),
            exceptions.encode_cut,
        )

    def update_state(self, state):
        """Merge a dict into the session's state: dicts key by key, all else replaces.

        :raises InvalidRecord: where it is not a dict or over 1 MiB encoded.
        """
        self._keep(kinds.STATE, build.state, (state,))

    def _keep(self, kind, make, arguments, encode=build.encode):
        try:
            body = self._pipeline.redaction.encoded(kind, make(*arguments), encode)
            if body is not None:
                self._pipeline.append(self._local_id, kind, body)
        except MemoryError:
            self._pipeline.give_up(self._local_id, kind)

    # Heartbeats

    def start_heartbeat_monitor(self, timeout=60, check_interval=5):
        """Watch that `heartbeat` is called; log an event when it is not, and when it is again.

        :param timeout: seconds without a heartbeat that make a hang.
        :param check_interval: seconds between checks.
        :raises InvalidRecord: where one is not a positive finite number.
        """
        self._watchdog = self._pipeline.watch(self._local_id, timeout, check_interval)
        self._watched_in = os.getpid()

    def heartbeat(self):
        """Say that the application lives; after `end` or `close` it does nothing.

        :raises MonitorNotStarted: before `start_heartbeat_monitor`, and after
            `stop_heartbeat_monitor`.
        """
        self._started_watchdog().beat(monotonic())

    def pause_heartbeat_monitoring(self):
        """Expect no heartbeats until `resume_heartbeat_monitoring`, as in a long computation."""
        self._started_watchdog().pause(monotonic())

    def resume_heartbeat_monitoring(self):
        """Expect heartbeats again."""
        self._started_watchdog().resume(monotonic())

    def stop_heartbeat_monitor(self):
        """Stop watching; harmless where nothing is watched."""
        self._stop_watching()
        self._watchdog = None

    def _stop_watching(self):
        if self._watched_in is not None:
            self._watched_in = None
            self._pipeline.unwatch(self._local_id)

    def _started_watchdog(self):
        if self._watched_in is not None and self._watched_in != os.getpid():
            # A forked child has threads of its own, and they do not watch yet.
            dog = self._watchdog
            self.start_heartbeat_monitor(dog.timeout, dog.check_interval)
        if self._watchdog is None:
            raise errors.MonitorNotStarted(
                "the heartbeat monitor of this session is not started: call "
                "start_heartbeat_monitor() first"
            )
        return self._watchdog

    # Waiting and ending

    def get_details(self, timeout=5):
        """Return what the server holds of the session (dict), after delivering all that waits.

        :param timeout: seconds for all of it.
        :raises NotDelivered: where that could not be delivered in time.
        :raises DatacatError: where the server could not be asked.
        """
        until = monotonic() + _seconds(timeout)
        if not self.flush(timeout):
            stats = self.stats()
            raise errors.NotDelivered(
                "%d records of session %s are not delivered after %g s%s; they are kept and "
                "will be sent"
                % (
                    stats["waiting"],
                    self.session_id,
                    timeout,
                    ": " + stats["last_error"] if stats["last_error"] else "",
                )
            )
        return self.client.get_session(self.session_id, timeout=max(0.1, until - monotonic()))

    def flush(self, timeout=5):
        """Wait until all that was logged is delivered, `timeout` seconds at most.

        :returns: whether it is.  Returns early where the server is away.
        """
        return self._pipeline.flush(self._local_id, _seconds(timeout))

    def stats(self):
        """Return a dict: waiting, in_memory, oldest_age, sent, dead, dropped, merged,
        possibly_twice, last_error, online, dialect.  Ages in seconds; nothing is reset.
        """
        return self._pipeline.stats(self._local_id)

    def end(self, timeout=5):
        """End the session and wait until that is delivered, `timeout` seconds at most.

        What is not delivered then is sent later, by the next run if need be.  Calls after the
        first only wait.  Records logged after it are delivered all the same.  In a forked child,
        too, this ends the session that it shares with its parent.
        """
        seconds = _seconds(timeout)
        # A main loop may still give heartbeats: after the end they do nothing.
        self._stop_watching()
        self._pipeline.end_session(self._local_id)
        self.flush(seconds)

    def close(self, timeout=5):
        """Let the session go without ending it on the server, after a flush of `timeout` seconds.

        The last session to go closes the outbox.  A log call afterwards opens it again.
        """
        seconds = _seconds(timeout)
        self._stop_watching()
        self._pipeline.close_session(self._local_id, seconds)


def _seconds(timeout):
    if isinstance(timeout, numbers.Real) and timeout >= 0:
        return timeout
    raise errors.InvalidRecord(
        "timeout must be a number of seconds, 0 or more, not %.100r" % (timeout,)
    )


class DisabledSession(Session):
    """Accepts everything and does nothing: no file, no thread, no request."""

    def __init__(self, resolved):
        self._settings = resolved
        self._local_id = "local-disabled"
        self._client = None

    def __repr__(self):
        return "<datacat session, disabled>"

    def __exit__(self, *_):
        return None

    session_id = Session.local_id

    @property
    def client(self):
        """A DatacatClient that does nothing either."""
        return client_module.DatacatClient(self._settings)

    def _nothing(self, *_, **__):
        return None

    log_event = log_metric = log_exception = update_state = _nothing
    start_heartbeat_monitor = heartbeat = stop_heartbeat_monitor = _nothing
    pause_heartbeat_monitoring = resume_heartbeat_monitoring = end = close = _nothing

    def flush(self, timeout=5):
        """Return True: nothing waits."""
        return True

    def get_details(self, timeout=5):
        """Return what there is: nothing."""
        return {}

    def stats(self):
        """Return the same keys as an enabled session's, all at rest."""
        return {
            "waiting": 0,
            "in_memory": 0,
            "oldest_age": None,
            "sent": 0,
            "dead": 0,
            "dropped": 0,
            "merged": 0,
            "possibly_twice": 0,
            "last_error": None,
            "online": None,
            "dialect": None,
        }
