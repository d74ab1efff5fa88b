"""The public face: `create_session` and `Session`.

Belongs here: a session's life, consent and stats.  Does not: the calls that log (see `recorder`),
heartbeats, and how a record is kept or sent.
"""

from __future__ import absolute_import, division

from . import checks, errors, settings
from . import client as client_module
from ._compat import monotonic
from .finalizers import silent_at_shutdown
from .heartbeats import Heartbeats
from .recorder import Recorder
from .timers import NoTimer
from .upstream import HeartbeatMonitor


def create_session(base_url=None, product=None, version=None, **options):
    """Open a session and return it, even if the server is away.

    Waits for the server's id of the session, for `connect_wait` seconds at most, and not at all if
    the server is known to be away.  Thread-safe.

    :param base_url: the server's URL (str), by default DATACAT_URL or http://localhost:8080.
    :param product: the application's name (str), by default DATACAT_PRODUCT or the main program's.
    :param version: its version (str), by default DATACAT_VERSION or "unknown".
    :param api_key: sent as `Authorization: Bearer` (str), by default DATACAT_API_KEY.
    :param hostname, machine_id: sent only if given (str); classic servers get the host name in the
        state.
    :param machine: tells this machine from others that share its outboxes' file system (str), by
        default DATACAT_MACHINE or the system's machine id.
    :param spool_dir: the folder of the outboxes (path), by default DATACAT_SPOOL_DIR or a folder
        in the user's state folder.
    :param durability: "process", or "power" to survive power cuts, with a sync per call (str).
    :param connect_wait: seconds to wait for the server's id (float, 2 by default; 0: none).
    :param timeout: seconds without a byte after which a request fails (float, 10 by default).
    :param deadline: seconds that a request may take in all (float, 30 by default).
    :param verify: a bool, or the path of a CA bundle, as in requests.
    :param cert: a path or a pair of paths, as in requests.
    :param proxies: a dict of str, as in requests.
    :param trust_env: whether to use proxies and CA bundles from the environment (bool).
    :param stamp_late: whether records sent late to a classic server carry `_captured_at` (bool).
    :param fold_fields: whether what a classic server has no field for goes into data, tags and
        state (bool).
    :param max_bytes: the size of all outboxes together (int, 256 MiB by default).
    :param window: how many records of a session are on the way at once (int, 1 to 64).
    :param rotate_after: records (int) or bytes (str such as "10 MB") until the next session_id.
    :param bandwidth: bytes a second that may go out, on average (int; None: any number).
    :param aggregate_seconds: how long a running total may stay unwritten (float, 5 by default).
    :param environment: whether the state tells Python, operating system and locale (bool).
    :param before_record: a callable (kind, fields) -> fields, or None to drop the record; it sees
        every record, the library's own too (README.md lists kinds and fields).
    :param redact: whether to hide secrets (bool), or a tuple of words that the keys of more
        secrets end with.
    :param max_per_minute: how many records alike are kept in a minute (int, or dict by kind).
    :param sample: which share of events and metrics is kept, 0 to 1 (dict of float by name).
    :param on_status: a callable (status), called in a thread of the library's when the server
        comes or goes, records begin or cease to wait, or one is refused for good.
    :param recording: False: record nothing until `set_recording(True)`, without file or request.
    :param end_on_signals: numbers of signals that end all sessions (tuple of int).
    :param disabled: accept everything and do nothing (bool), by default DATACAT_DISABLED.
    :param async_mode, queue_size, daemon_port: have no effect; datacat's newer client takes them.
    :returns: a `Session`.
    :raises InvalidSettings: if an option cannot work.
    :raises TypeError: if an option does not exist.
    :raises NotAuthorized, RequestRefused: if a datacat server refuses the session, in its own
        words, within `connect_wait`; nothing is kept then.
    """
    return _open(settings.resolve(base_url, product=product, version=version, **options))


def _open(resolved):
    if resolved.disabled:
        return DisabledSession(resolved)
    # Imported late, to keep `import datacat` fast.
    from .process import environment, signals
    from .process.membership import LONGEST_WAIT_FOR_LOCK, Membership

    membership = Membership(resolved)
    session = Session(membership)
    membership.belong_to(session)
    if not resolved.recording:
        signals.end_on_signals(resolved.end_on_signals)
        return session
    membership.join(max(LONGEST_WAIT_FOR_LOCK, resolved.connect_wait))
    environment.tell(membership)
    try:
        membership.await_id(resolved.connect_wait)
    except errors.DatacatError as refusal:
        error = errors.with_advice(refusal)
    else:
        signals.end_on_signals(resolved.end_on_signals)
        return session
    raise error


@silent_at_shutdown(
    "start_heartbeat_monitor heartbeat pause_heartbeat_monitoring resume_heartbeat_monitoring "
    "stop_heartbeat_monitor pause_sending resume_sending set_recording flush stats get_stats end "
    "shutdown close"
)
class Session(Recorder, Heartbeats):
    """A session of an application, made by `create_session`.  Every method is thread-safe.

    The calls that log are those of `Recorder`, those for heartbeats those of `Heartbeats`.
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
        if issubclass(type(error), Exception):
            self.log_exception(exc_info=(kind, error, trace))
        if self._membership.is_inherited:
            # In a forked child: only the parent ends it, unless the child calls end().
            self.flush()
        else:
            self.end()

    @property
    def session_id(self):
        """The server's id, or the local id until that is known (str); see `rotate_after`."""
        return self._membership.server_id or self._membership.local_id

    @property
    def local_id(self):
        """The id that this process gave the session; never changes (str)."""
        return self._membership.local_id

    @property
    def client(self):
        """A DatacatClient for the same server, made at the first use.

        Writing into this session through it weakens the promise "once" on classic servers, where a
        record is only known by its position among the others.  While nothing is recorded, one
        that does nothing.
        """
        if not self._membership.is_recording:
            return client_module.DatacatClient(self._membership.settings.silenced())
        if self._client is None:
            client = client_module.DatacatClient(self._membership.settings)
            client.before_write = self._membership.note_other_writer
            self._client = client
        return self._client

    # Sending and recording

    @property
    def is_online(self):
        """Whether the server was there when last tried (bool), None while that is unknown."""
        return self._membership.is_online

    def pause_sending(self):
        """Send nothing from now on, such as on an expensive line; records are kept.

        This holds for all sessions of this process with the same options, until `resume_sending`
        or the end of the process.  A request under way is completed.  Meanwhile `flush` returns at
        once, and neither `end`, `close` nor the exit wait.  Heartbeats to the server stop as well;
        calls of `client` go out.
        """
        self._membership.pause_sending()

    def resume_sending(self):
        """Send again, and try the server at once; harmless if sending is not paused."""
        self._membership.resume_sending()

    def set_recording(self, on, forget=False):
        """Turn recording on or off, as the user has consented or not.

        While it is off, calls return at once and record nothing, there is no file, thread or
        request of this session, and the next run reports no crash of it.  What was recorded
        before is kept, and is sent when recording is on again, in this run or another; or while
        other sessions of this process with the same options record.  Turned on again, the session
        is a new one for the server, and gets another `local_id`.

        :param on: whether to record from now on (bool).
        :param forget: whether to delete first whatever this machine keeps for the same server and
            product (bool): also what other runs left, but not what other running processes or
            sessions use.
        :returns: whether nothing is left that `forget` was to delete (bool); if something is, a
            warning names it.
        :raises InvalidArgument: if `on` or `forget` is not a bool.
        """
        on, forget = checks.yes_or_no("on", on), checks.yes_or_no("forget", forget)
        return self._membership.set_recording(on, forget)

    # Waiting and ending

    def get_details(self, timeout=5):
        """Return what the server has of the session (dict), after delivering all waiting records.

        While nothing is recorded, an empty dict: nothing is asked.

        :param timeout: seconds for all of it (number, 0 or more).
        :raises NotDelivered: if not all records were delivered in time.
        :raises InvalidArgument: if `timeout` is not such a number.
        :raises DatacatError: if the server could not be asked.
        """
        seconds = checks.timeout(timeout)
        if not self._membership.is_recording:
            return {}
        until = monotonic() + seconds
        if not self.flush(seconds):
            raise errors.not_delivered(self.stats(), self.session_id, seconds)
        return self.client.get_session(self.session_id, timeout=max(0.1, until - monotonic()))

    def flush(self, timeout=5):
        """Wait until none of the session's records waits any more; give up if the server is away.

        :param timeout: seconds to wait at most (number, 0 or more).
        :returns: whether none waits (bool): all are delivered, but for those that `stats()` counts
            as dead (refused by the server) or dropped (for lack of space).  At once while sending
            is paused.
        :raises InvalidArgument: if `timeout` is not such a number.
        """
        return self._membership.flush(checks.timeout(timeout))

    def stats(self):
        """Return what is known without asking the server (dict).

        waiting: records of this session that are not delivered yet (int).
        in_memory: of the records of all sessions that share its outbox, those not on disk (int).
        oldest_age: seconds since its oldest waiting record was logged (float or None).
        sent, dead, dropped: its records delivered, made dead letters, and lost (int).
        merged: its state updates that became part of a later one (int).
        possibly_twice: its records sent again though they may have arrived (int).
        overtaken: its records that the server took after a later one, because it refused them
            when they were sent together (int).
        seen_again: how often this process saw an exception that it had told before (int).
        held_back: records that this process held back (int), see `max_per_minute` and `sample`.
        last_error: the latest trouble with server, disk or threads (str or None).
        online: whether the server is there (bool), None while that is unknown.
        dialect: "classic", "v1", or None while that is unknown.
        """
        member = self._membership
        own = {"seen_again": member.sightings.again, "held_back": member.holding.held_back}
        return dict(member.stats(), **own)

    def get_stats(self):
        """Return `stats()` by fewer and other names (dict).

        sent: records that were delivered (int).
        dropped: records that the server will never have: `dropped` and `dead` of `stats` (int).
        queued: records that wait (int).
        """
        counts = self.stats()
        dropped = counts["dropped"] + counts["dead"]
        return {"sent": counts["sent"], "dropped": dropped, "queued": counts["waiting"]}

    def end(self, timeout=5):
        """End the session, and wait until all is delivered, as `flush` does.

        Whatever is not delivered by then is sent later, if need be by the next run.  Later calls
        only wait.  Records logged afterwards are still delivered.  In a forked child, this ends
        the session that it shares with its parent.

        :param timeout: seconds to wait at most (number, 0 or more).
        :raises InvalidArgument: if `timeout` is not such a number; the session is not ended then.
        """
        seconds = checks.timeout(timeout)
        self._membership.end()
        self.flush(seconds)

    def shutdown(self, timeout=5):
        """Do what `end` does."""
        self.end(timeout)

    def close(self, timeout=5):
        """Release the session without ending it, after a flush.

        The last session to be closed closes the outbox.  A later log call opens it again; if
        another process has taken it over by then, `flush` returns False and `stats` says why.

        :param timeout: seconds for all of it (number, 0 or more).
        :raises InvalidArgument: if `timeout` is not such a number; nothing is closed then.
        """
        self._membership.close(checks.timeout(timeout))


class DisabledSession(Session):
    """Accepts everything and does nothing: no file, no thread, no request."""

    session_id = local_id = "local-disabled"
    _is_watched = False

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
    log_gauge = log_counter = log_histogram = log_timer = _nothing
    heartbeat = stop_heartbeat_monitor = end = close = _nothing
    pause_heartbeat_monitoring = resume_heartbeat_monitoring = _nothing
    pause_sending = resume_sending = _nothing
    is_online = None

    def start_heartbeat_monitor(self, timeout=60, check_interval=None):
        """Start nothing, and return a monitor that does not run."""
        return HeartbeatMonitor(self, timeout, check_interval)

    def install_exception_hooks(self, sys=True, threads=True, unraisable=True):
        """Install nothing, and return an object as that of an enabled session."""
        from .process import hooks

        return hooks.install(self, None, sys=False, threads=False, unraisable=False)

    def timer(self, *_, **__):
        """Return an object that is used as a timer, and measures nothing."""
        return NoTimer()

    def enable_faulthandler(self):
        """Return False."""
        return False

    def monitor_process(self, interval=15):
        """Measure nothing, and return an object as that of an enabled session."""
        from .process import monitor

        return monitor.ProcessMonitor(None, interval, 0.0)

    def add_heartbeat_monitor(self, name, timeout=60, check_interval=None, is_running=None):
        """Watch nothing, and return an object as that of an enabled session."""
        from .process import monitors

        return monitors.Monitor(None, name, timeout, check_interval)

    def flush(self, timeout=5):
        """Return True: nothing waits."""
        return True

    def set_recording(self, on, forget=False):
        """Return True: nothing is recorded, and nothing left to forget."""
        return True

    def get_details(self, timeout=5):
        """Return an empty dict."""
        return {}

    def stats(self):
        """Return the keys of an enabled session's stats, with initial values."""
        counts = "waiting in_memory sent dead dropped merged possibly_twice overtaken".split()
        counts += ["seen_again", "held_back"]
        unknown = ("oldest_age", "last_error", "online", "dialect")
        return dict(dict.fromkeys(counts, 0), **dict.fromkeys(unknown))
