"""What a pipeline has once its file is open: outbox, sender, keeper, transport and two threads.

Belongs here: connecting these, and waiting for their progress.  Does not: when they start and
stop, which sessions there are, locks.
"""

from __future__ import absolute_import, division

import six

from .._compat import monotonic
from ..locks import Bell
from ..outbox.learned import Learned
from ..outbox.names import learned_of
from ..records import kinds
from ..sending import adoption
from ..sending.sender import Sender
from ..wire import dialects
from .keeper import Keeper
from .loop import Loop, shortest
from .places import ENDED

FRESH_ATTEMPT_SECONDS = 0.4
GATHER_SECONDS = 0.5
_GLANCE_SECONDS = 0.25

_imported = []


def import_transport():
    """Import the transport, and requests with it; harmless when repeated.

    Late, to keep `import datacat` fast; and kept, because nothing can be imported while the
    interpreter shuts down.
    """
    if not _imported:
        from ..wire.transport import Transport

        _imported.append(Transport)


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
        # Read before they are replaced: a crash is reported with the previous owner's notes.
        notes = outbox.notes()
        outbox.note(**adoption.describe_owner())
        self._transport = _imported[0](settings)
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
        )
        self.sending = Loop(
            "datacat-sender",
            self._send_step,
            outbox.changes,
            lambda: self.sender.server.link.due <= monotonic(),
            pipeline.sleepers,
            GATHER_SECONDS,
        )
        self._keeper = Keeper(outbox, spool, pipeline.members, self.sending.nudge)
        self.keeping = Loop(
            "datacat-keeper",
            self._keep_step,
            outbox.changes,
            lambda: not self._keeper.is_alert,
            pipeline.sleepers,
        )

    def _send_step(self, now):
        pause = self.sender.step(now)
        self._progress.made()
        if self.outbox.unsynced or not self.sending.is_running:
            # Wake the keeper: settles need a sync, a drained file can shrink, a closing pipeline
            # can close.
            self.keeping.nudge()
        return pause

    def _keep_step(self, now):
        return shortest([self._keeper.step(now), self._tend(now)])

    def start(self):
        """Start the threads that do not run; return None, or why one cannot be started."""
        errors = [self.sending.start(), self.keeping.start()]
        return errors[0] or errors[1]

    # Waiting and stats

    def await_answer(self, entry, seconds):
        """Wait until the server gives a session its id, refuses it, or turns out to be away."""
        link = self.sender.server.link
        self.sending.wake()
        if self.sending.is_running:
            self._progress.wait(seconds, lambda: entry.server_id or entry.refusal or link.failures)

    def flush(self, is_done, seconds):
        """Try the server at once, and wait until `is_done()` holds, for `seconds` at most.

        If the server is away, return as soon as a fresh attempt has failed.
        """
        if is_done() or not self.sending.is_running:
            return
        link = self.sender.server.link
        failures = link.failures if link.online is False else None
        self.sender.hurry()
        self.sending.wake()
        if failures is not None:
            self._progress.wait(
                min(seconds, FRESH_ATTEMPT_SECONDS), lambda: link.failures != failures or is_done()
            )
        self._progress.wait(seconds, lambda: is_done() or link.online is False)

    def stats(self, entry):
        """Return the stats of outbox and server, and the age of a session's oldest record."""
        outbox, server = self.outbox, self.sender.server
        head = None if outbox.closed else outbox.head(entry)
        last_error = server.link.last_error or outbox.refusal
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
