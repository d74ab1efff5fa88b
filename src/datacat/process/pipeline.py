"""The outbox, threads and connections for one server in one process: when they start and end.

Belongs here: opening and closing, starting and stopping, and what forks, exits and Ctrl-C do to
that.  Does not: what concerns one session (`membership`), what is sent, what an answer means.

Theory of operation

1. A pipeline serves all sessions of one process that have the same shared settings. Its states:

       NEW -> LINGERING <-> RUNNING
                  |
               CLOSED

   NEW        Nothing is open. The first session that is admitted opens everything.
   LINGERING  The file is open and records are kept, but not both threads run: the sender was told
              to stop, or one could not be started.
   RUNNING    The file is open and both threads run.
   CLOSED     Final. The registry makes another pipeline when one is needed.

   In a forked child an inherited pipeline is foreign, as its process id shows, whatever its state.
   The child uses nothing of it but its outbox's path and what is known of its sessions.
2. Threads. Callers keep records in the outbox themselves. The sender delivers them and waits for
   the network. The keeper does what must not wait for the network: it checks heartbeats, syncs,
   heals, forgets sessions that nobody uses, and closes a pipeline that nobody needs. It keeps
   running while the pipeline lingers.
3. Locks. The pipeline's lock guards its state, its members, and the opening and closing of its
   files. Locks are taken in this order: registry, pipeline, spool, outbox; two pipelines' only by
   a fork. Whoever holds one waits neither for the network nor for a thread to stop; only for one
   to start and, in a child of an unguarded fork, up to 200 ms for a trial of sqlite (see
   claiming). A log call takes it only if its session's place is out of date.
4. If a call cannot get the lock, because it interrupts its own thread inside (signal handlers,
   finalizers) or because the disk is slow, its session is put off. Whoever is inside admits it on
   the way out; if that is interrupted, the keeper or the next log call does (see gate).
5. A log call looks at `sleepers` once its record is kept. They are empty while there is nothing to
   wake. A thread that goes to sleep adds itself; so does a pipeline whose threads do not run, and
   one that has put off sessions.
6. Close. The pipeline lingers and the sender is told to stop; it is waited for without the lock;
   then the file is closed with the lock, unless a session has come back. Interrupted before that,
   the pipeline still lingers, and the next log call makes it run. It also lingers if there is no
   time to close or records have no file, until the keeper or the exit can close it.
7. Exit. Sessions say goodbye, then each pipeline delivers what it can in the time left and closes.
   No thread is started any more: what is logged later is kept for the next run.
8. Fork. `locks_over_sqlite` names the locks that are held during it (see fork). In the child, a
   session finds its place foreign and joins one of the child's own pipelines.
"""

from __future__ import absolute_import, division

import functools
import os

from .. import locks
from .._compat import monotonic
from ..notices import Notices
from ..outbox.outbox import Outbox
from . import claiming, registry, running_totals, shutdown
from .engine import Engine
from .gate import LONGEST_WAIT_FOR_LOCK, Errand, Gate
from .loop import Sleepers, shortest

NEW = "new"
LINGERING = "lingering"
RUNNING = "running"
CLOSED = "closed"

# A later log call has to open the file again, which takes as long.
LONGEST_CLOSE = 0.2
# How often to try to start threads again, and to look whether a busy sender has stopped.
RETRY_SECONDS = 1.0
# For a thread that was told to stop and has nothing else to do.
STOPPING_SECONDS = 0.05
# Finalizers of objects collected together with a session may still use it.
LAST_USE_SECONDS = 1.0

_NO_THREADS = (
    "cannot start a thread (%s): records are kept in %s, but not sent; the next log call tries "
    "again, otherwise the next run sends them"
)


class Pipeline(object):
    """What sends for all sessions of one process that share their settings; thread-safe.

    :param settings: Settings as `Settings.shared` returns them.
    :param scope: their Scope.
    :param predecessor: the Pipeline whose sessions continue here: one that this process has
        closed, or one that it inherited in a fork; or None.
    :param redact: the Redaction of its first session, or None.
    :ivar state: NEW, LINGERING, RUNNING or CLOSED.
    :ivar process: the id of the process that it belongs to.
    :ivar engine, outbox: None while it is NEW.
    :ivar members: {local id: Membership} of its sessions.
    :ivar sleepers: the Sleepers to wake after a record was appended to the outbox.
    :ivar warn: a Notices.
    :ivar redact: the Redaction for sessions of other processes, or None: that of the first session
        here or in its predecessor.
    """

    def __init__(self, settings, scope, predecessor=None, redact=None):
        self.settings = settings
        self._scope = scope
        self.state = NEW
        self.process = os.getpid()
        self.engine = self.outbox = self._spool = None
        self.members = {}
        self.sleepers = Sleepers()
        self.warn = Notices() if predecessor is None else predecessor.warn
        self.redact = redact if predecessor is None else predecessor.redact
        self._predecessor = predecessor
        self._gate = Gate(self._admit, self._welcome, self._is_inside, self.sleepers)
        self._locked = self._gate.locked
        # Not for a session that has just stopped recording.
        self._start_of_threads = Errand(
            lambda: self._is_unused or self._locked(self._run_threads, 0)
        )
        self._retry_at = 0.0
        self._no_threads = None

    @property
    def is_foreign(self):
        """Whether it belongs to another process, from which this one was forked."""
        return self.process != os.getpid()

    @property
    def is_here(self):
        """Whether it belongs to this process and has not closed."""
        return self.state is not CLOSED and self.process == os.getpid()

    # The lock

    def locks_over_sqlite(self):
        """Yield, in their order, the locks without which no thread gets into sqlite here."""
        yield self._gate.lock
        if self.engine is not None:
            for lock in self.engine.locks():
                yield lock

    def after_fork(self):
        """In the parent: see to what was put off because the fork held the locks."""
        self._gate.admit_those_put_off()

    def _is_inside(self):
        """Whether this thread is in the middle of a change to the outbox."""
        return self.outbox is not None and locks.is_owned(self.outbox.lock)

    # Sessions

    def admit(self, member, seconds=LONGEST_WAIT_FOR_LOCK):
        """Admit a session, now or later; return False if this pipeline has closed.

        :param member: its Membership.
        :param seconds: how long to wait for the lock; after that, its holder admits the session.
        """
        if not self._gate.admit(member, seconds):
            self.wake_keeper()
            return True
        return self._see_to_admission()

    def _admit(self, member):
        if not member.is_recording:
            return
        if self.state is NEW:
            self._open()
        if self.outbox.closed:
            # Its close was interrupted.
            self._close_files()
        else:
            member.enter(self, self.process)
            self._run_threads()

    def _see_to_admission(self):
        """Do what an admission needs without the lock; return False if this has closed."""
        if self.state is CLOSED:
            registry.remove(self)
            return False
        self._take_over_from_parent()
        self.sleepers.wake()
        return True

    def _welcome(self, member):
        """Do that for one that was put off."""
        if not self._see_to_admission():
            member.join()

    def withdraw(self, member):
        """Forget a session that the server refused to open."""
        self._locked(lambda: self._forget(member, self.outbox.forget))

    # Opening

    def _open(self):
        """Open the file and make the threads, continuing what an interrupted call has begun."""
        shutdown.prepare()
        if self.outbox is None:
            self._spool, store = claiming.open_store(
                self.settings, self._scope, self._predecessor, self.warn
            )
            self.outbox = Outbox(store, self.settings.max_bytes, self.warn)
        returning, inherited = _sort(self.outbox.entries(), self)
        self.engine = Engine(self.settings, self._spool, self.outbox, inherited, self)
        self.sleepers.add(self._start_of_threads)
        self.state = LINGERING
        for member in returning:
            member.enter(self, member.place.process)

    def _take_over_from_parent(self):
        parents, self._predecessor = self._predecessor, None
        if parents is not None and parents.is_foreign:
            registry.remove(parents)
            if parents.engine is not None:
                parents.engine.abandon()

    # The threads

    def _run_threads(self):
        """Start the threads that do not run; none at exit, when records wait for the next run."""
        now = monotonic()
        if self.state is LINGERING and not shutdown.is_exiting() and now >= self._retry_at:
            error = self.engine.start()
            if error is None:
                self._no_threads = None
                self.warn.clear("threads")
                self.state = RUNNING
            else:
                self._retry_at = now + RETRY_SECONDS
                self._no_threads = _NO_THREADS % (error, self.outbox.path)
                self.warn("threads", self._no_threads)
        if self.state is RUNNING:
            self.sleepers.discard(self._start_of_threads)

    def wake_keeper(self):
        """Have the keeper check heartbeats, and forget sessions that nobody uses."""
        # A foreign pipeline's bell may be a descriptor that is another file's by now.
        if self.engine is not None and not self.is_foreign:
            self.engine.keeping.wake()

    def tend(self, now):
        """The keeper's part: forget and close what nobody needs; return when to look again."""
        self._gate.admit_those_put_off()
        return shortest([self._forget_abandoned(now), self._close_if_over()])

    def _forget_abandoned(self, now):
        """Forget sessions that are over and no longer referenced by the application."""
        waits = []
        for member in list(self.members.values()):
            is_over = member.place.entry.is_over and not member.totals.are_unwritten
            if member.abandoned_at is None or not is_over:
                continue
            left = member.abandoned_at + LAST_USE_SECONDS - now
            if left > 0:
                waits.append(left)
            else:
                self._locked(functools.partial(self._forget, member, self.outbox.forget_if_over))
        return shortest(waits)

    def _forget(self, member, forget):
        if not self.outbox.closed and forget(member.place.entry) is not False:
            self.members.pop(member.local_id, None)

    # Waiting and stats

    def flush(self, is_done, seconds):
        """Try the server at once, and wait until `is_done()` holds, for `seconds` at most.

        If the server is away, return as soon as a fresh attempt has failed; if earlier calls have
        waited in vain for the attempt under way, what they have waited counts.
        """
        self._locked(self._run_threads)
        self.engine.flush(is_done, seconds)

    def stats(self, entry):
        """Return the stats of outbox and server, and the age of a session's oldest record."""
        stats = self.engine.stats(entry)
        stats["last_error"] = self._no_threads or stats["last_error"]
        return stats

    # The end

    @property
    def _is_unused(self):
        return not any(member.needs_pipeline for member in list(self.members.values()))

    def close_if_unused(self, seconds):
        """Close it if no session needs it; it lingers if that takes longer than `seconds`."""
        until = monotonic() + max(0.1, seconds)
        self._locked(self._linger_if_unused)
        self._close_when_stopped(until, LONGEST_CLOSE)

    def _close_if_over(self):
        """For the keeper: close if unused; return in how many seconds to look again, or None."""
        if self.state is RUNNING and not self.members and self.engine.is_over:
            self._locked(self._linger_if_unused)
        if not self._may_close():
            return None
        if not self.engine.sending.wait_until_stopped(STOPPING_SECONDS):
            return RETRY_SECONDS
        self._close_when_stopped(monotonic() + 2 * LONGEST_CLOSE, LONGEST_CLOSE)
        return None

    def _linger_if_unused(self):
        if self._is_unused:
            self._linger()

    def _linger(self):
        if self.state in (LINGERING, RUNNING):
            # In this order, the next log call can repair an interruption between any two lines.
            self.sleepers.add(self._start_of_threads)
            self.state = LINGERING
            self.engine.sending.ask_to_stop()

    def _may_close(self, is_last=False):
        return self.state is LINGERING and (is_last or self._is_unused)

    def _close_when_stopped(self, until, longest_close, is_last=False):
        """Wait for the threads and close, if there is time for both; called without the lock.

        :param is_last: whether to close it even if sessions need it or records have no file.
        """
        if not self._may_close(is_last):
            return
        keeping = self.engine.keeping
        if not self.engine.wait_until_stopped(until - monotonic()):
            return
        if not self.engine.can_close_within(min(longest_close, until - monotonic()), is_last):
            # The keeper goes on: it has the last second's records to sync, or some to write.
            return
        self._locked(lambda: self._stop_keeper(is_last))
        if keeping.is_running:
            return
        if keeping.is_current_thread or keeping.wait_until_stopped(until - monotonic()):
            self._locked(lambda: self._close(is_last))
        if self.state is CLOSED:
            registry.remove(self)
        else:
            self._locked(self._go_on_keeping)

    def _stop_keeper(self, is_last):
        if self._may_close(is_last):
            self.engine.keeping.ask_to_stop()

    def _close(self, is_last):
        if self._may_close(is_last):
            self._close_files()
        else:
            # Needed again: by another session, or by last words of one that is over.
            self._run_threads()

    def _close_files(self):
        # In this order: what an interruption leaves undone is done by the next session that comes.
        self.engine.close()
        self.state = CLOSED
        self.members.clear()

    def _go_on_keeping(self):
        if self.state is LINGERING and not shutdown.is_exiting():
            self.engine.keeping.start()

    def say_goodbye(self, until):
        """At exit: end the sessions that this process opened, leave those it inherited."""
        if self.engine is not None:
            members = list(self.members.values())
            running_totals.write_all(members, until)
            shutdown.show_ends(self.outbox, members)
            own = set(member.place.entry for member in members)
            self._locked(lambda: self.engine.say_goodbyes(own), until - monotonic())
            self.sleepers.wake()

    def finish(self, until):
        """At exit, after `say_goodbye`: deliver as much as possible, and close."""
        if self.engine is not None:
            entries = [member.place.entry for member in list(self.members.values())]
            self.flush(lambda: all(entry.is_delivered for entry in entries), until - monotonic())
            until = max(until, monotonic() + 0.1)
            self._locked(self._linger, until - monotonic())
            self._close_when_stopped(until, shutdown.EXIT_SECONDS, is_last=True)
            # Even if the sender is still busy: Python 2.7 clears modules while threads use them.
            self._locked(lambda: self._stop_keeper(is_last=True))
            self.engine.keeping.wait_until_stopped(STOPPING_SECONDS)


def _sort(entries, pipeline):
    """Return (this process's sessions that return to their file, entries of others)."""
    returning, inherited = [], []
    for entry in entries:
        member = registry.membership(entry.local_id)
        if member is not None and member.may_return_to(pipeline):
            returning.append(member)
        else:
            inherited.append(entry)
    return returning, inherited
