"""What a pipeline has once its file is open: outbox, sender, keeper, transport and two threads.

Belongs here: connecting these, and waiting for their progress.  Does not: when they start and
stop, which sessions there are, locks.
"""

from __future__ import absolute_import, division

import collections
import functools

import six

from .._compat import monotonic
from ..locks import Bell
from ..outbox.learned import Learned
from ..outbox.names import learned_of
from ..records import kinds
from ..sending import adoption
from ..sending.sender import Sender
from ..wire import dialects, importing
from ..wire.transport import Transport
from . import pauses
from .announcer import Announcer
from .keeper import Keeper
from .loop import Loop, shortest
from .places import ENDED

FRESH_ATTEMPT_SECONDS = 0.4
GATHER_SECONDS = 0.5
# A program that opens many sessions while the server is away makes one attempt a second at most.
NEW_SESSION_SECONDS = 1.0
# For how long it is remembered that calls waited in vain.
VAIN_SECONDS = 10.0
_GLANCE_SECONDS = 0.25
# How long to wait for a sender that the application has paused, but that is still in a request.
_PAUSED_SECONDS = 0.05
_PAUSED = u"sending is paused until resume_sending() is called"


class Progress(object):
    """Wakes the threads that wait whenever the sender has made a step.

    Each waiter has a bell of its own, and they share no lock: interrupting one (Ctrl-C) must hold
    up neither the others nor the sender.
    """

    def __init__(self):
        self._bells = []

    def made(self):
        """Wake the waiters; free if there are none."""
        for bell in self._bells[:]:
            bell.ring()

    def wait(self, seconds, is_over):
        """Return when `is_over()` holds, after `seconds` at the latest."""
        until = monotonic() + seconds
        bell = Bell()
        try:
            self._bells.append(bell)
            while not is_over():
                left = until - monotonic()
                if left <= 0:
                    return
                bell.wait(min(left, _GLANCE_SECONDS))
        finally:
            if bell in self._bells:
                self._bells.remove(bell)


# began: when the call began; attempt: when the attempt began for which earlier calls have waited
# in vain since `since`, None if there is none; answers: how many there were.
Wait = collections.namedtuple("Wait", "began since attempt answers")


class Attempts(object):
    """How long calls may wait for the server, if earlier ones waited for the same attempt in vain.

    Where packets vanish, an attempt lasts for long.  Calls that wait for the same one wait as long
    as the longest of them, not one after the other.

    The sender's thread calls `begin` and `end`, any thread the rest; `now` is monotonic seconds.
    """

    def __init__(self):
        self._began = None
        self._answers = 0
        self._vain_since = self._vain_until = None

    @property
    def current(self):
        """When the step under way began, None between two steps."""
        return self._began

    def begin(self, now):
        """Note that the sender takes a step."""
        self._began = now

    def end(self, is_answered):
        """Note that the step is over.

        :param is_answered: whether the server answers.
        """
        self._began = None
        self._answers += is_answered

    def wait(self, now):
        """Return the Wait of a call that begins."""
        attempt, until = self._began, self._vain_until
        if None in (attempt, until) or attempt > until or now - until > VAIN_SECONDS:
            return Wait(now, now, None, self._answers)
        return Wait(now, self._vain_since, attempt, self._answers)

    def left(self, wait, seconds, now):
        """Return how long a call may go on waiting.

        :param seconds: for how long it may wait in all, if there is something to wait for.
        """
        return max(0.0, self._since(wait) + seconds - now)

    def _since(self, wait):
        # Once that attempt is over, the call has to wait for another one, or for more answers.
        return wait.since if wait.attempt == self._began else wait.began

    def give_up(self, wait, now):
        """Note that a call has waited in vain, unless the server answered meanwhile."""
        if self._answers == wait.answers:
            self._vain_since, self._vain_until = self._since(wait), now


class Engine(object):
    """The parts of one pipeline; made when it opens its file, useless once that is closed.

    :param settings: the pipeline's Settings.
    :param spool: the Spool that the outbox is in.
    :param outbox: the Outbox.
    :param inherited: entries of sessions in it that belong to other processes.
    :param pipeline: has `members`, `sleepers`, `warn`, `redact`, and `tend(now)` for the keeper to
        call.
    """

    def __init__(self, settings, spool, outbox, inherited, pipeline):
        self.outbox = outbox
        self._spool = spool
        self._tend = pipeline.tend
        self._progress = Progress()
        self._attempts = Attempts()
        self._is_paused = functools.partial(pauses.is_on, settings)
        # Read before they are replaced: a crash is reported with the previous owner's notes.
        notes = outbox.notes()
        outbox.note(**adoption.describe_owner())
        self._transport = Transport(settings)
        self.sender = Sender(
            settings,
            self._transport,
            outbox,
            spool,
            pipeline.warn,
            inherited,
            predecessor=notes,
            redact=pipeline.redact,
            learned=Learned(learned_of(outbox.path)),
            is_paused=self._is_paused,
        )
        self.sending = Loop(
            "datacat-sender",
            self._send_step,
            outbox.changes,
            lambda: self.sender.listens(monotonic()),
            pipeline.sleepers,
            GATHER_SECONDS,
        )
        self._announcer = Announcer(pipeline.members)
        self._keeper = Keeper(outbox, spool, pipeline.members, self.sending.nudge)
        # Before the threads run: a program that becomes a daemon closes all descriptors early on.
        self._keeper.tidy_once()
        self.keeping = Loop(
            "datacat-keeper",
            self._keep_step,
            outbox.changes,
            lambda: not self._keeper.is_alert,
            pipeline.sleepers,
        )

    def _send_step(self, now):
        self._attempts.begin(now)
        link = self.sender.server.link
        online = link.online
        try:
            pause = self.sender.step(now)
        finally:
            self._attempts.end(link.ever_up and not link.failures)
        self._progress.made()
        if self.outbox.unsynced or not self.sending.is_running:
            # Wake the keeper: settles need a sync, a drained file can shrink, a closing pipeline
            # can close.
            self.keeping.nudge()
        if link.online is not online:
            # Not nudged: the keeper may be just about to sleep.
            self.keeping.wake()
        return pause

    def _keep_step(self, now):
        waits = [self._keeper.step(now), self._announcer.step(now), self._tend(now)]
        return shortest(waits)

    def start(self):
        """Start the threads that do not run; return None, or why one cannot be started."""
        errors = [self.sending.start(), self.keeping.start()]
        return errors[0] or errors[1]

    def hurry(self):
        """Have the sender try the server at once."""
        self.sender.hurry()
        self.sending.wake()

    # Waiting and stats

    def await_answer(self, entry, seconds):
        """Try the server, and wait until it gives a session its id, refuses it, or is away."""
        link = self.sender.server.link
        if link.failures and monotonic() - link.failed_at >= NEW_SESSION_SECONDS:
            self.sender.hurry()
        self.sending.wake()
        if self.sending.is_running and not self._is_paused():
            self._progress.wait(seconds, lambda: entry.server_id or entry.refusal or link.failures)

    def flush(self, is_done, seconds):
        """Try the server at once, and wait until `is_done()` holds, for `seconds` at most.

        If the server is away, return as soon as a fresh attempt has failed; if earlier calls have
        waited in vain for the attempt under way, what they have waited counts.  While sending is
        paused, return at once.
        """
        if is_done() or not self.sending.is_running or self._is_paused():
            return
        link, wait = self.sender.server.link, self._attempts.wait(monotonic())
        failures = link.failures if link.online is False else None
        self.hurry()
        if not self._attempts.left(wait, seconds, wait.began):
            return
        if failures is not None:
            self._await_fresh(wait, seconds, lambda: link.failures != failures or is_done())
        for _ in range(2):  # once more if that attempt is over by then
            self._wait(wait, seconds, lambda: is_done() or link.online is False)
        if not is_done():
            self._attempts.give_up(wait, monotonic())

    def _await_fresh(self, wait, seconds, is_over):
        """Wait for a fresh attempt, which takes longer if it is the first to reach the server."""
        is_first = not importing.is_done()
        self._wait(wait, min(seconds, FRESH_ATTEMPT_SECONDS), is_over)
        if is_first and importing.has_begun():
            attempt = self._attempts.current
            self._wait(wait, seconds, lambda: is_over() or self._attempts.current != attempt)
            # If that step only asked for the server's health, the next one shows more.
            taken = monotonic() - wait.since
            self._wait(wait, min(seconds, taken + FRESH_ATTEMPT_SECONDS), is_over)

    def _wait(self, wait, seconds, is_over):
        left = self._attempts.left(wait, seconds, monotonic())
        if left:
            self._progress.wait(left, lambda: is_over() or self._is_paused())

    def wait_until_stopped(self, seconds):
        """Wait until the sender has stopped; return whether it has.

        What earlier calls have waited for its attempt counts, as for `flush`.
        """
        wait = self._attempts.wait(monotonic())
        if self._is_paused():
            seconds = min(seconds, _PAUSED_SECONDS)
        left = self._attempts.left(wait, seconds, wait.began)
        is_stopped = self.sending.wait_until_stopped(left)
        if left and not is_stopped:
            self._attempts.give_up(wait, monotonic())
        return is_stopped

    def stats(self, entry):
        """Return the stats of outbox and server, and the age of a session's oldest record."""
        outbox, server = self.outbox, self.sender.server
        head = None if outbox.closed else outbox.head(entry)
        last_error = server.link.last_error or outbox.refusal
        if self._is_paused():
            last_error = _PAUSED
        return {
            "in_memory": outbox.in_memory,
            "oldest_age": None if head is None else max(0.0, self.sender.age(head)),
            "last_error": None if last_error is None else six.text_type(last_error),
            "online": server.link.online,
            "dialect": server.dialect.name if server.dialect is not None else None,
        }

    @property
    def tells_records_apart(self):
        """Whether the server keeps each record's identity, so that arrivals need no counting."""
        return self.sender.server.dialect is dialects.V1

    def mark_shared(self, server_id):
        """Note that somebody else writes into a session, so counting proves nothing."""
        for entry in self.outbox.entries():
            if entry.server_id == server_id and not entry.shared:
                self.outbox.update(entry, shared=1)

    # The end

    @property
    def is_over(self):
        """Whether nothing is left to send, of this process or of adopted outboxes."""
        return self.outbox.is_over and not self.sender.is_adopting

    def say_goodbyes(self, own):
        """Record the end of this process's sessions that have none; mark inherited ones as left.

        :param own: a set with the entries of this process's sessions.
        """
        for entry in [] if self.outbox.closed else self.outbox.entries():
            if entry.goodbye:
                continue
            if entry.inherited:
                self.outbox.say_goodbye(entry, adoption.LEFT)
            elif entry in own:
                self.outbox.say_goodbye(entry, ENDED, kinds.END, b"{}")

    def can_close_within(self, seconds, is_last):
        """Return whether there is time to close, and every record would be on disk then.

        :param is_last: whether to close even if some are in memory only, and are lost either way.
        """
        outbox = self.outbox
        if outbox.upkeep.closing_seconds > seconds:
            return False
        if outbox.refusal is None or not outbox.in_memory:
            return True
        return outbox.upkeep.heal(self._spool.replacement) or is_last

    def close(self):
        """Close connections and files, once both threads have stopped."""
        self._transport.close()
        self.sender.close_adopted()
        self.outbox.close()

    def abandon(self):
        """In a forked child: leave the files to the parent."""
        for outbox in self.sender.outboxes:
            outbox.abandon()

    def locks(self):
        """Yield, in order, the locks that keep other threads out of sqlite."""
        yield self._spool.lock
        for outbox in self.sender.outboxes:
            yield outbox.lock
