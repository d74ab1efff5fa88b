"""One session in this process: the pipeline that carries it, its entry there, who uses it.

Belongs here: what a session's calls do, and how it finds its place again.  Does not: when
pipelines open and close, what is sent, the public face.

Theory of operation

1. A session's `place` names its pipeline and its entry in that pipeline's outbox. It is replaced
   by a single assignment and never changed, so that a log call reads it without a lock.
2. A place goes out of date when the process forks (the pipeline is another process's), when the
   pipeline closes, when the application closes the session, and when the entry is forgotten
   because the session was over. The next call notices and joins again: it takes the pipeline for
   the session's settings from the registry, which makes one if there is none. The pipeline lets
   the session enter under its lock: it finds its entry by its local id, or adds one. A new session
   starts the same way, from a place that is nowhere.
3. What a call has to keep while the place is out of date is `pending`. It is kept when the session
   enters a pipeline, before the place is replaced. An interruption (Ctrl-C) anywhere leaves a
   place that is still out of date, and the next call does it all again. If a call cannot enter,
   because it interrupts its own thread inside the pipeline or because another thread takes too
   long there, it leaves the record pending; whoever is inside admits the session on the way out.
4. A forked child continues the session if the server's id was known at the fork; before it keeps
   anything, it leaves a mark beside its parent's outbox. Without an id, or if it cannot leave a
   mark and the server does not tell records apart, it opens a session of its own. What was pending
   at the fork is kept by the parent.
5. Records in a file that this process does not get back are left behind: they count as waiting
   while that file exists.
"""

from __future__ import absolute_import, division

import collections
import uuid
import weakref
from os import getpid

from .. import notices, scope
from .._compat import monotonic
from ..records import kinds, redaction, sightings
from ..stack import RecoverableOverflow, try_with_room
from . import holding, native, places, recording, registry, shutdown
from .announcer import Announcements
from .control import Control
from .gate import LONGEST_WAIT_FOR_LOCK
from .pipeline import Pipeline
from .running_totals import RunningTotals
from .watchdog import Watchdog
from .watched import Watched


class Membership(Control, Watched):
    """A session in this process; thread-safe, and safe in signal handlers and finalizers.

    :param settings: the session's Settings.
    :ivar redact: its Redaction, or None.
    :ivar holding, screen: what it holds back, and what its records pass through (see `holding`).
    :ivar sightings: the exceptions that it has told.
    :ivar totals: its RunningTotals.
    :ivar announcements: the calls of its `on_status`.
    :ivar watchdog: takes its heartbeats; None if no monitor was started.
    :ivar is_watched: whether its pipeline's keeper checks the watchdog and the monitors.
    :ivar monitors: further Monitors (list).
    :ivar monitor: the ProcessMonitor whose samples the keeper takes, or None.
    :ivar abandoned_at: when (monotonic) the application dropped its Session, or None.
    """

    def __init__(self, settings):
        super(Membership, self).__init__()
        self.settings = settings
        self.local_id = "local-" + uuid.uuid4().hex
        self.redact = redaction.make(settings, self.warn)
        self.holding, self.screen = holding.make(self)
        self.sightings = sightings.Sightings(self.local_id)
        self.totals = RunningTotals(settings.aggregate_seconds)
        self.announcements = Announcements(settings.on_status)
        self.watchdog = self.monitor = self.abandoned_at = self._session = None
        self.is_watched, self.monitors = False, []
        self._shared_settings = settings.shared()
        # Now, because it needs imports, which fail while the interpreter shuts down.
        self._scope = scope.of(settings)
        self._pending = collections.deque()
        # {path: how many records wait in that file, which is another process's}
        self._left_behind = {}
        self._first_state = None
        self.place = places.nowhere(self.local_id, b"{}")
        if settings.recording:
            self.begin()

    def warn(self, topic, message):
        """Log a warning once per topic."""
        if self.place.pipeline is not None:
            self.place.pipeline.warn(topic, message)
        else:
            notices.warn(message)

    # Keeping records

    def give_up(self, kind):
        """Count a record as dropped, for lack of memory; the server is told later."""
        here = self.place
        if here.process != getpid() or not here.pipeline.outbox.give_up(here.entry, kind):
            self.keep_in_next_place(None, kind, None)
        else:
            here.sleepers.wake()

    # Joining a pipeline

    def join(self, seconds=LONGEST_WAIT_FOR_LOCK):
        """Enter the pipeline for this session's settings, and keep there what is pending.

        :param seconds: how long to wait for the pipeline's lock; after that, whoever has it admits
            this session.
        """
        settings, make = self._shared_settings, self._make_pipeline
        while self.is_recording and not registry.obtain(settings, make).admit(self, seconds):
            pass

    def _make_pipeline(self, inherited):
        predecessor = inherited or self.place.pipeline
        return Pipeline(self._shared_settings, self._scope, predecessor, self.redact)

    def keep_in_next_place(self, word, kind, body):
        """Keep a record, a goodbye (`word`), or both, where the session goes on.

        :raises MemoryError: if it was not kept.
        """
        if not self.is_recording:
            return
        pending = places.Pending(getpid(), word, kind, body, [])
        self._pending.append(pending)
        try:
            self.join()
        except RecoverableOverflow:
            try_with_room(self.join)
        except MemoryError:
            # The caller counts the record as dropped, unless it was kept.
            if pending in self._pending:
                self._pending.remove(pending)
                raise

    def enter(self, pipeline, process):
        """Find or add this session's entry in a pipeline; the caller has the pipeline's lock.

        :param process: of the new Place.
        """
        before, is_kept = self.place, False
        # Again if the outbox forgot the session in between, because it was over.
        while not is_kept:
            entry = self._entry_in(pipeline, before)
            # First: with a goodbye that is pending, losses are reported.
            entry.redact = self.redact
            is_kept = places.keep_all(self._pending, pipeline.outbox, entry)
        if before.is_foreign:
            self._left_behind = {}
        if before.is_foreign and self.watchdog is not None:
            # A child's clocks start at zero.
            dog = self.watchdog
            self.watchdog = Watchdog(dog.timeout, dog.check_interval, monotonic())
        pipeline.members[self.local_id] = self
        # Last: until here an interruption leaves the old place, and the next call enters again.
        self.place = places.Place(pipeline, entry, process if self.is_recording else None)

    def may_return_to(self, pipeline):
        """Return whether an entry with this session's id in a pipeline's outbox is its own."""
        return self._is_closed and pipeline.settings == self._shared_settings

    def _entry_in(self, pipeline, before):
        outbox, old = pipeline.outbox, before.entry
        if before.pipeline is pipeline and outbox.has(old):
            return old
        found = outbox.find(self.local_id)
        if found is not None:
            if old.shared and not found.shared:
                # Noted while the file was closed.
                outbox.update(found, shared=1)
            return found
        is_new = before.pipeline is None
        if not is_new and not before.is_foreign and old.waiting > 0:
            self._left_behind[before.pipeline.outbox.path] = old.waiting
        # A session that the server knows continues; one that it does not know would be opened by
        # both, so this process opens another.
        if places.can_move(before):
            return places.move_session(outbox, self.local_id, before)
        news = None if is_new else places.forked_event(self.local_id, self.redact)
        return places.open_session(outbox, old.opening, self.local_id, self._first_state, news)

    # Who uses it

    def belong_to(self, session):
        """Note when the application drops its Session; None: don't note it any more.

        The callback can run anywhere in any thread, so it only records the time.
        """
        self._session = None if session is None else weakref.ref(session, self._was_abandoned)

    def _was_abandoned(self, _):
        self.abandoned_at = monotonic()
        self.wake_keeper()

    @property
    def is_inherited(self):
        """Whether this is a forked child and the session is its parent's."""
        return self.place.is_foreign or bool(self.place.entry.inherited)

    @property
    def needs_pipeline(self):
        """Whether its pipeline must stay open for it."""
        here = self.place
        is_done = here.process is None or bool(here.entry.goodbye and here.entry.waiting <= 0)
        is_untold = self.totals.are_unwritten or self.holding.has_untold
        return not is_done or self.is_watched or bool(self._pending) or is_untold

    @property
    def server_id(self):
        """The id that the server gave the session, or None."""
        return self.place.entry.server_id

    def note_other_writer(self, server_id):
        """Note on disk that somebody else is about to write into a session as well.

        :param server_id: of any session of this pipeline.
        """
        entry = self.place.entry
        if self._is_closed and entry.waiting <= 0:
            # Nothing is in doubt now; the session's next entry takes the flag over.
            entry.shared = int(bool(entry.shared) or entry.server_id == server_id)
        elif self.place.process != getpid() or self._is_closed:
            self.join()
        # Not only its own: other sessions may be in a pipeline that was opened since.
        for pipeline in registry.pipelines():
            if pipeline.settings == self._shared_settings and pipeline.engine is not None:
                pipeline.engine.mark_shared(server_id)

    @property
    def _is_closed(self):
        """Whether its pipeline has closed in this process."""
        pipeline = self.place.pipeline
        return pipeline is not None and not (pipeline.is_here or pipeline.is_foreign)

    # Waiting and stats

    def await_id(self, seconds):
        """Wait until the server gives the session its id, refuses it, or turns out to be away.

        :raises DatacatError: with which a datacat server refused it; the open is withdrawn.
        """
        pipeline, entry = self.place.pipeline, self.place.entry
        if pipeline is None:
            return
        pipeline.engine.await_answer(entry, seconds)
        if entry.refusal is not None:
            pipeline.withdraw(self)
            pipeline.close_if_unused(shutdown.EXIT_SECONDS)
            raise entry.refusal

    def flush(self, seconds):
        """Wait until all of the session's records are delivered; return whether they are.

        Tries the server at once, whatever the backoff, and gives up when a fresh attempt fails.
        """
        is_written = self.totals.write(self)
        recording.tell_held_back(self)
        if self.place.is_foreign and not self._has_pending:
            return is_written
        if self.is_recording and not self._is_delivered():
            if self._has_pending or self.place.process != getpid() or self._is_closed:
                self.join()
            if self._pipeline_here is not None:
                self._pipeline_here.flush(self._is_delivered, seconds)
        is_sent = self._is_delivered() and not places.waiting_in(self._left_behind)
        return is_sent and is_written

    @property
    def _has_pending(self):
        """Whether something that this very process logged waits for the next place."""
        return any(pending.process == getpid() for pending in list(self._pending))

    @property
    def _pipeline_here(self):
        """Its pipeline, None where there is none yet, or only that of a process before a fork."""
        return None if self.place.is_foreign else self.place.pipeline

    def _is_delivered(self):
        return not self._has_pending and self.place.entry.is_delivered

    def stats(self):
        """Return what `Session.stats` does, but for `seen_again` and `held_back`."""
        if self.place.is_foreign:
            self.join()
        # A goodbye may come without a record.
        waiting = [each for each in list(self._pending) if each.kind is not None]
        return places.stats(self._pipeline_here, self.place.entry, len(waiting), self._left_behind)

    # Goodbye

    def end(self):
        """Record the end of the session, once."""
        if not self.is_recording:
            return
        self._say_goodbye(places.ENDED, kinds.END, b"{}")
        places.mark_end(self.place, self.local_id)

    def show_end(self):
        """Have `before_record` see the end, which is about to be recorded."""
        redaction.never_dropped(self.redact, kinds.END, {})

    def _say_goodbye(self, word, kind=None, body=None):
        self.is_watched, self.monitor = False, None
        self.totals.write(self)
        recording.tell_held_back(self)
        if not places.is_said(word, self.place.entry):
            places.report_losses(self._pipeline_here)
            if kind is not None:
                self.show_end()
            self.keep_in_next_place(word, kind, body)
        native.release(self)

    def close(self, seconds):
        """Flush and release the session without ending it; the last one closes the pipeline."""
        if self.place.pipeline is None or not self.place.pipeline.is_here:
            return
        until = monotonic() + seconds
        self._say_goodbye(places.CLOSED)
        self.flush(seconds)
        self.place = self.place.closed()
        self.place.pipeline.close_if_unused(until - monotonic())
