"""The public face: `create_session` and `Session`.

Belongs here: the calls, their checks and their promises.  Does not: how a record is kept or sent.
"""

from __future__ import absolute_import, division

import numbers
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
    from .process import signals
    from .process.membership import LONGEST_WAIT_FOR_LOCK, Membership

    membership = Membership(resolved)
    session = Session(membership)
    membership.belong_to(session)
    membership.join(max(LONGEST_WAIT_FOR_LOCK, resolved.connect_wait))
    try:
        membership.await_id(resolved.connect_wait)
    except errors.DatacatError as refusal:
        error = _with_advice(refusal)
    else:
        signals.end_on_signals(resolved.end_on_signals)
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
    """A session of an application, made by `create_session`.  Every method is thread-safe.

    Log calls keep the record on disk and return None; sending happens in the background.  They
    raise InvalidRecord for what cannot be recorded, and never for the state of disk or network.
    """

    def __init__(self, membership):
        self._membership = membership
        self._client = None

    def __repr__(self):
        return "<datacat session %s at %s>" % (
            self.session_id,
            self._membership.settings.base_url,
        )

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None and isinstance(error, Exception):
            self.log_exception(exc_info=(kind, error, trace))
        if self._membership.is_inherited:
            # In a forked child: ending it is the parent's business, unless end() is called.
            self.flush()
        else:
            self.end()

    @property
    def session_id(self):
        """The server's id as soon as it is known, and the local id before (str)."""
        return self._membership.server_id or self._membership.local_id

    @property
    def local_id(self):
        """The id that this process gave the session; never changes (str)."""
        return self._membership.local_id

    @property
    def client(self):
        """A DatacatClient for the same server (made once).

        Writing into this session through it weakens the promise "once" on a classic server, where
        a record is known by its place among the others.
        """
        if self._client is None:
            client = client_module.DatacatClient(self._membership.settings)
            client.before_write = self._membership.note_other_writer
            self._client = client
        return self._client

    # Logging

    def log_event(self, name, data=None, category=None, group=None, labels=None, message=None):
        """Log an event.

        :param name: a text that is not empty.
        :param data: a dict; values that JSON lacks are converted (see the README).
        :param category, group, message: texts, labels: a list of texts; for v1 servers.
        :raises InvalidRecord: for anything else, and over 1 MiB encoded.
        """
        self._log(kinds.EVENT, build.event, (name, data, category, group, labels, message))

    def log_metric(self, name, value, tags=None, type=None, unit=None, count=None, metadata=None):
        """Log a metric.

        :param name: a text that is not empty.
        :param value: a finite number.
        :param tags: a list of texts.
        :param type, unit, count, metadata: for v1 servers, see PROTOCOL "metrics".
        :raises InvalidRecord: for anything else.
        """
        self._log(kinds.METRIC, build.metric, (name, value, tags, type, unit, count, metadata))

    def log_exception(self, extra_data=None, exc_info=None):
        """Log an exception, by default the one being handled, with its traceback; never raises.

        :param extra_data: a dict that is merged into the event's data.
        :param exc_info: (type, value, traceback).
        """
        self._log(
            kinds.EXCEPTION,
            exceptions.exception,
            (exc_info or sys.exc_info(), extra_data),
            exceptions.encode_cut,
        )

    def update_state(self, state):
        """Merge a dict into the session's state: dicts key by key, all else replaces.

        :raises InvalidRecord: where it is not a dict or over 1 MiB encoded.
        """
        self._log(kinds.STATE, build.state, (state,))

    def _log(self, kind, make, arguments, encode=build.encode):
        membership = self._membership
        try:
            fields = make(*arguments)
            if membership.redact is not None:
                fields = membership.redact(kind, fields)
                if fields is None:
                    return
            membership.append(kind, encode(fields))
        except MemoryError:
            membership.give_up(kind)

    # Heartbeats

    def start_heartbeat_monitor(self, timeout=60, check_interval=5):
        """Watch that `heartbeat` is called: log an event when it is not, and when it is again.

        :param timeout: seconds without a heartbeat that count as a hang.
        :param check_interval: seconds between checks.
        :raises InvalidRecord: where one is not a positive finite number.
        """
        self._membership.watch(timeout, check_interval)

    def heartbeat(self):
        """Say that the application is alive; after `end` or `close` this does nothing.

        :raises MonitorNotStarted: before `start_heartbeat_monitor`, and after
            `stop_heartbeat_monitor`.
        """
        watchdog = self._membership.running_watchdog()
        if watchdog is None:
            raise _not_started()
        watchdog.beat(monotonic())

    def pause_heartbeat_monitoring(self):
        """Expect no heartbeats until `resume_heartbeat_monitoring`, as in a long computation.

        :raises MonitorNotStarted: as `heartbeat` does.
        """
        watchdog = self._membership.running_watchdog()
        if watchdog is None:
            raise _not_started()
        watchdog.pause(monotonic())

    def resume_heartbeat_monitoring(self):
        """Expect heartbeats again.

        :raises MonitorNotStarted: as `heartbeat` does.
        """
        watchdog = self._membership.running_watchdog()
        if watchdog is None:
            raise _not_started()
        watchdog.resume(monotonic())

    def stop_heartbeat_monitor(self):
        """Stop watching; harmless where nothing is watched."""
        self._membership.unwatch()

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

        Returns early where the server is away.

        :returns: whether all is delivered (bool).
        """
        return self._membership.flush(_seconds(timeout))

    def stats(self):
        """Return a dict: waiting, in_memory, oldest_age, sent, dead, dropped, merged,
        possibly_twice, last_error, online, dialect.  Ages are in seconds; nothing is reset.
        """
        return self._membership.stats()

    def end(self, timeout=5):
        """End the session and wait until that is delivered, `timeout` seconds at most.

        What is not delivered then is sent later, by the next run if need be.  Calls after the
        first only wait.  Records logged after it are delivered all the same.  In a forked child
        this ends the session that it shares with its parent.
        """
        seconds = _seconds(timeout)
        self._membership.end()
        self.flush(seconds)

    def close(self, timeout=5):
        """Let go of the session without ending it, after a flush of `timeout` seconds at most.

        The last session to be closed closes the outbox.  A log call afterwards opens it again; if
        another process has taken it over by then, `flush` returns False and `stats` says why.
        """
        self._membership.close(_seconds(timeout))


def _not_started():
    return errors.MonitorNotStarted(
        "the heartbeat monitor of this session is not started: call "
        "start_heartbeat_monitor() first"
    )


def _seconds(timeout):
    if isinstance(timeout, numbers.Real) and timeout >= 0:
        return timeout
    raise errors.InvalidRecord(
        "timeout must be a number of seconds, 0 or more, not %.100r" % (timeout,)
    )


class DisabledSession(Session):
    """Accepts everything and does nothing: no file, no thread, no request."""

    session_id = local_id = "local-disabled"

    def __init__(self, resolved):
        self._settings = resolved

    def __repr__(self):
        return "<datacat session, disabled>"

    def __exit__(self, *_):
        return None

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
