"""The wiring for one server and one set of settings in one process, through fork, close and exit.

What may live here: who is made when, and what happens to all of it at fork, close and exit.
What may not: what is sent, what an answer means, and the hooks themselves.
"""

from __future__ import absolute_import, division

import collections
import os
import uuid

from .._compat import monotonic
from ..notices import Notices
from ..outbox.no_store import NoStore
from ..outbox.outbox import Outbox
from ..outbox.refusals import SpoolUnusable
from ..outbox.spool import Spool, identity_of
from ..records import build, exceptions, kinds
from ..records.redaction import Redaction
from ..sending import adoption
from ..sending.sender import UNKNOWN_STATE, Sender
from . import hooks, watchdog
from .forking import create_in_child
from .holders import Holders
from .keeper import Keeper
from .loop import Loop
from .progress import Progress

ENDED = "ended"
CLOSED = "closed"
FRESH_ATTEMPT_SECONDS = 0.4
LINGER_SECONDS = 0.5
# A log call after it opens the file again, which takes as long.
LONGEST_CLOSE = 0.2

_CARRIED = (
    "shared",
    "accepted",
    "gone",
    "sent",
    "events",
    "metrics",
    "dead",
    "dropped",
    "merged",
    "possibly_twice",
)

Place = collections.namedtuple("Place", "outbox entry")

_pipelines = {}


def obtain(settings):
    """Return this process's pipeline for these settings, made at the first call."""
    with hooks.process_lock():
        pipeline = _pipelines.get(settings)
        if pipeline is None:
            pipeline = _pipelines[settings] = Pipeline(settings)
            hooks.serve(pipeline)
        return pipeline


class Pipeline(object):
    """Outbox, sender, keeper and transport for one server; thread-safe.

    Sessions are known here by their local id, in this process and in its forked children.
    """

    def __init__(self, settings):
        # Imported late: `import datacat` must not cost its users the import of requests. And no
        # later: while Python is taken apart, nothing can be imported any more.
        from ..wire.transport import Transport

        self._new_transport = Transport
        self.settings = settings
        self.warn = Notices()
        self.redaction = Redaction(settings.before_record, self.warn)
        self._spool = self._make_spool()
        self._origins = {}
        self._mine = set()
        self._holders = Holders()
        self._start(self._spool.claim)

    # Making it

    def _make_spool(self):
        settings = self.settings
        return Spool(
            settings.spool_dir, settings.scope(), settings.durability == "power", self.warn
        )

    def _start(self, claim):
        self._process = os.getpid()
        self._places = {}
        self._left = False
        self._progress = Progress()
        self._outbox = outbox = self._open_outbox(claim)
        known = set(self._origins)
        inherited = []
        for entry in outbox.entries():
            if entry.local_id in known:
                self._settle_in(entry)
            else:
                inherited.append(entry)
        predecessor = outbox.notes()
        outbox.note(**adoption.describe_owner())
        self._transport = self._new_transport(self.settings)
        self.sender = Sender(
            self.settings,
            self._transport,
            outbox,
            None if outbox.path == NoStore.path else self._spool,
            self.warn,
            inherited,
            predecessor,
        )
        self.keeper = Keeper(outbox, self._spool.replacement, self._append_own)
        self._sending = Loop(
            "datacat-sender",
            self._send_step,
            lambda: outbox.appended,
            lambda: self.sender.server.link.due <= monotonic(),
            LINGER_SECONDS,
        )
        self._keeping = Loop(
            "datacat-keeper",
            self.keeper.step,
            lambda: outbox.appended,
            lambda: not self.keeper.is_alert,
        )
        self._run_threads()

    def _run_threads(self):
        # None at exit: the file keeps what is logged then, and the next run sends it.
        if not hooks.is_exiting():
            self._sending.start()
            self._keeping.start()

    def _open_outbox(self, claim):
        try:
            store = claim()
        except SpoolUnusable as error:
            store = NoStore(error)
        return Outbox(store, self.settings.max_bytes, self.warn)

    def _send_step(self, now):
        pause = self.sender.step(now)
        self._progress.made()
        if pause != 0.0 and self._holders.have_gone:
            self._forget_abandoned()
        if self._outbox.unsynced:
            # What is settled must be synced too, and a file that is drained shrinks.
            self._keeping.tell()
        return pause

    def _ensure_started(self):
        """Make what a fork or a close took away, where somebody needs it again."""
        if self._is_started():
            return
        with hooks.process_lock():
            if self._process != os.getpid():
                self._start_in_child()
            elif self._outbox.closed:
                path = self._outbox.path
                self._start(lambda: self._spool.reopen(path))
            elif self._left:
                self._left = False
                self._run_threads()

    def _is_started(self):
        return self._process == os.getpid() and not self._outbox.closed and not self._left

    # Sessions

    def open_session(self):
        """Record the opening of a session and return its local id."""
        settings = self.settings
        local_id = "local-" + uuid.uuid4().hex
        opening = build.encode(
            build.opening(
                settings.product, settings.version, settings.hostname, settings.machine_id
            )
        )
        with hooks.process_lock():
            self._ensure_started()
            self._add_session(local_id, opening)
        return local_id

    def _add_session(self, local_id, opening):
        self._mine.add(local_id)
        entry = self._outbox.add_session(local_id, opening)
        place = self._settle_in(entry)
        self._outbox.append(entry, kinds.OPEN, opening)
        self._sending.wake()
        return place

    def hold(self, local_id, holder):
        """Keep what is known of a session until it is over and `holder` is no more."""
        self._holders.add(local_id, holder)

    def _forget_abandoned(self):
        # Who has the lock may be waiting for this very thread to stop.
        if not hooks.process_lock().acquire(False):
            return
        try:
            self._holders.drop_gone(monotonic(), self._forget_if_over)
        finally:
            hooks.process_lock().release()

    def _forget_if_over(self, local_id):
        if local_id in self._origins:
            place = self._places.get(local_id)
            if not self._origins[local_id].is_over or (
                place is not None and not place.outbox.forget_if_over(place.entry)
            ):
                return False
            self._places.pop(local_id, None)
            del self._origins[local_id]
            self._mine.discard(local_id)
        return True

    def await_id(self, local_id, seconds):
        """Wait until the server gave the session its id, is away, or refuses it.

        :raises DatacatError: what a datacat server refused it with; the open is withdrawn.
        """
        entry = self._entry(local_id)
        link = self.sender.server.link
        if self._sending.is_running:
            self._progress.wait(seconds, lambda: entry.server_id or entry.refusal or link.failures)
        if entry.refusal is not None:
            self._withdraw(local_id)
            raise entry.refusal

    def _withdraw(self, local_id):
        with hooks.process_lock():
            self._mine.discard(local_id)
            self._origins.pop(local_id, None)
            self._outbox.forget(self._places.pop(local_id).entry)
            self._shut_if_unused(hooks.EXIT_SECONDS)

    def _entry(self, local_id):
        self._ensure_started()
        if not self._origins[local_id].is_over:
            self._place(local_id)
        return self._origins[local_id]

    def _place(self, local_id):
        self._ensure_started()
        place = self._current_place(local_id)
        if place is None:
            with hooks.process_lock():
                # Another thread may have carried it over meanwhile.
                place = self._current_place(local_id) or self._carry_over(local_id)
        return place

    def _current_place(self, local_id):
        place = self._places.get(local_id)
        return place if place is not None and place.outbox.has(place.entry) else None

    def server_id(self, local_id):
        """Return the id that the server gave the session, or None."""
        return self._origins[local_id].server_id

    def is_inherited(self, local_id):
        """Return whether the session is a parent's that goes on here, in its forked child."""
        if self._process != os.getpid():
            return True
        return bool(self._origins[local_id].inherited)

    def mark_shared(self, server_id):
        """Note that somebody else writes into a session too, so that counting proves nothing."""
        for entry in list(self._origins.values()):
            if entry.server_id == server_id:
                entry.shared = 1

    # Records

    def append(self, local_id, kind, body):
        """Keep a record and see that it is sent."""
        place = self._places.get(local_id) if self._is_started() else None
        # An outbox that another thread closes meanwhile takes nothing and says so.
        while place is None or not place.outbox.append(place.entry, kind, body):
            place = self._place(local_id)
        self._wake()

    def give_up(self, local_id, kind):
        """Count a record for which the system has no memory, and see that the server is told."""
        place = None
        while place is None or not place.outbox.give_up(place.entry, kind):
            place = self._place(local_id)
        self._wake()

    def _append_own(self, outbox, entry, fields):
        body = self.redaction.encoded(kinds.EVENT, fields, exceptions.encode_cut)
        if body is not None and outbox.append(entry, kinds.EVENT, body):
            self._wake()

    def _wake(self):
        self._sending.tell()
        self._keeping.tell()

    def end_session(self, local_id, word=ENDED):
        """Record how a session goes, once: ENDED tells the server, CLOSED does not."""
        last = (kinds.END, b"{}") if word == ENDED else ()
        with hooks.process_lock():
            self.unwatch(local_id)
            goodbye = self._entry(local_id).goodbye
            if goodbye == ENDED or (goodbye and word == CLOSED):
                return
            noted = False
            while not noted:
                outbox, entry = self._place(local_id)
                noted = outbox.say_goodbye(entry, word, *last)
        self._wake()

    # Waiting

    def flush(self, local_id, seconds):
        """Wait until all of a session is delivered; return whether it is.

        Tries the server at once, whatever the backoff.  Where it is away, returns as soon as a
        fresh attempt has failed.
        """
        if self._process != os.getpid():
            return True
        if self._outbox.closed and self._origins[local_id].waiting <= 0:
            return True
        entry = self._entry(local_id)
        return self._flush(lambda: entry.waiting <= 0, seconds)

    def _flush(self, is_done, seconds):
        if is_done() or not self._sending.is_running:
            return is_done()
        link = self.sender.server.link
        failures = link.failures if link.online is False else None
        self.sender.hurry()
        self._sending.wake()
        if failures is not None:
            self._progress.wait(
                min(seconds, FRESH_ATTEMPT_SECONDS), lambda: link.failures != failures or is_done()
            )
        self._progress.wait(seconds, lambda: is_done() or link.online is False)
        return is_done()

    # Telling

    def stats(self, local_id):
        """Return what became of a session's records, and how the way to the server is."""
        if self._process != os.getpid():
            self._ensure_started()
        entry = self._origins[local_id] if self._outbox.closed else self._entry(local_id)
        head = None if self._outbox.closed else self._outbox.head(entry)
        server = self.sender.server
        last_error = server.link.last_error or self._outbox.refusal
        return {
            "waiting": entry.waiting,
            "in_memory": self._outbox.in_memory,
            "oldest_age": None if head is None else max(0.0, self.sender.age(head)),
            "sent": entry.sent,
            "dead": entry.dead,
            "dropped": entry.dropped,
            "merged": entry.merged,
            "possibly_twice": entry.possibly_twice,
            "last_error": None if last_error is None else str(last_error),
            "online": server.link.online,
            "dialect": server.dialect.name if server.dialect is not None else None,
        }

    def watch(self, local_id, timeout, check_interval):
        """Have the keeper check a session's heartbeats; return the Watchdog that takes them."""
        dog = watchdog.Watchdog(timeout, check_interval, monotonic())
        entry = self._place(local_id).entry
        self.keeper.watch(entry, dog)
        self._keeping.wake()
        return dog

    def unwatch(self, local_id):
        """Stop checking them."""
        place = self._places.get(local_id)
        if place is not None:
            self.keeper.unwatch(place.entry)

    # Close and exit

    def close_session(self, local_id, seconds):
        """Flush a session and let it go without ending it; the last one closes the pipeline."""
        if self._process != os.getpid() or self._outbox.closed:
            return
        until = monotonic() + seconds
        self.end_session(local_id, CLOSED)
        self.flush(local_id, seconds)
        with hooks.process_lock():
            self._mine.discard(local_id)
            self._shut_if_unused(until - monotonic())

    def _shut_if_unused(self, seconds):
        others = [self._origins[local_id] for local_id in self._mine]
        if all(entry.goodbye and entry.waiting <= 0 for entry in others):
            self._shut(seconds)

    def _shut(self, seconds, longest_close=LONGEST_CLOSE):
        until = monotonic() + max(0.1, seconds)
        stopped = self._sending.stop(until - monotonic())
        closes_in_time = self._outbox.closing_seconds <= min(longest_close, until - monotonic())
        self._left = not (stopped and closes_in_time)
        if stopped and not closes_in_time:
            # The keeper goes on, for it has the last second's records to sync.
            return
        self._keeping.stop(until - monotonic())
        if stopped:
            self._transport.close()
            self.sender.close_adopted()
            self._outbox.close()

    def say_goodbye(self):
        """At the process's end: end what it opened, and leave what it inherited."""
        if self._process != os.getpid() or self._outbox.closed:
            return
        with hooks.process_lock():
            for local_id in list(self._mine):
                self.end_session(local_id)
        for entry in self._outbox.entries():
            if entry.inherited and not entry.goodbye:
                self._outbox.say_goodbye(entry, adoption.LEFT)

    def finish(self, until):
        """At the process's end, after `say_goodbye`: flush and close until a monotonic time."""
        if self._process != os.getpid() or self._outbox.closed:
            return
        with hooks.process_lock():
            own = [self._origins[local_id] for local_id in self._places]
        self._flush(lambda: all(entry.waiting <= 0 for entry in own), until - monotonic())
        self._shut(until - monotonic(), hooks.EXIT_SECONDS)

    # Fork

    def locks_over_sqlite(self):
        """Return the locks without which no other thread of this process gets into sqlite."""
        if self._process != os.getpid():
            return []
        return [self._spool.lock] + [outbox.lock for outbox in self.sender.outboxes]

    def forked(self):
        """After a fork, in the parent: from now on a child may write into its sessions."""
        for entry in list(self._origins.values()):
            entry.shared = 1

    def _start_in_child(self):
        parent = identity_of(self._outbox.path)
        for outbox in self.sender.outboxes:
            outbox.abandon()
        self._mine = set()
        # The lock of the inherited one is frozen for ever.
        self._spool = self._make_spool()
        self._start(lambda: create_in_child(self._spool, parent))

    # Going on with a session in another outbox than the one it began in

    def _carry_over(self, local_id):
        origin = self._origins[local_id]
        outbox = self._outbox
        if origin.server_id is None:
            return self._open_instead(local_id, origin)
        forked = local_id not in self._mine and origin.goodbye is None
        # What another outbox still holds of it, another process may send.
        columns = (
            {"shared": 1}
            if forked or origin.waiting > 0
            else dict((name, getattr(origin, name)) for name in _CARRIED)
        )
        entry = outbox.add_session(
            local_id,
            origin.opening,
            server_id=origin.server_id,
            inherited=int(forked or origin.inherited),
            goodbye=None if forked else origin.goodbye,
            **columns
        )
        outbox.update(entry, UNKNOWN_STATE)
        return self._settle_in(entry)

    def _settle_in(self, entry):
        self._origins[entry.local_id] = entry
        place = self._places[entry.local_id] = Place(self._outbox, entry)
        return place

    def _open_instead(self, local_id, origin):
        place = self._add_session(local_id, origin.opening)
        self._outbox.append(
            place.entry,
            kinds.EVENT,
            build.encode(build.event("session_forked", {"forked_from": local_id})),
        )
        return place
