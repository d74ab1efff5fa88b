"""A Sender on a bench: a real outbox in a file, a server in memory, and the test's own time."""

from __future__ import absolute_import, division

import numbers

from datacat import settings
from datacat.outbox.outbox import Outbox
from datacat.outbox.spool import Spool
from datacat.records import build, kinds
from datacat.sending.sender import Sender
from tools.memory_server import MemoryServer, World

SCOPE = "0123456789ab"
OPENING = build.encode(build.opening("product", "1"))
LONG_AGO = 3600.0


class Warnings(object):
    """Stands for Notices: what was said, each topic once until it is cleared."""

    def __init__(self):
        self.said = []
        self.expected = set()
        self._open = set()

    def __call__(self, topic, message):
        if topic not in self.expected:
            assert topic not in ("fault", "disk", "dropped", "damaged"), message
        if topic not in self._open:
            self._open.add(topic)
            self.said.append((topic, message))

    def clear(self, topic):
        self._open.discard(topic)

    def about(self, topic):
        return [message for about, message in self.said if about == topic]


class Bench(object):
    """One process's sender; `again()` stands for the next process on the same folder.

    :param folder: where outboxes lie (text).
    :param looks: whether it looks for outboxes of dead processes.
    """

    def __init__(
        self,
        folder,
        classic=False,
        server=None,
        world=None,
        looks=False,
        claim=False,
        chance=lambda: 0.5,
        predecessor=None,
        **options
    ):
        self.world = world or World()
        self.server = server or MemoryServer(self.world, classic)
        self.warnings = Warnings()
        self.folder = folder
        self.chance = chance
        self.spool = Spool(folder, SCOPE, False, self.warnings)
        self._store = self.spool.claim() if claim else self.spool.create()
        self.outbox = Outbox(self._store, 256 * 1024 * 1024, self.warnings, wall=self.world.wall)
        self.steps = 0
        self._looks = looks
        self._settings = settings.resolve("http://server", product="p", version="1", **options)
        self.employ(self.outbox.entries(), predecessor)

    def employ(self, inherited=(), predecessor=None):
        """Put a new Sender to work on the outbox, as after close() in the same process."""
        self.sender = Sender(
            self._settings,
            self.server,
            self.outbox,
            self.spool if self._looks else None,
            self.warnings,
            inherited,
            predecessor,
            wall=self.world.wall,
            chance=self.chance,
            clock=self.world.clock,
        )
        self.link = self.sender.server.link

    def again(self, **options):
        """Return the Bench of the next process, this one having died."""
        self.die()
        return Bench(
            self.folder,
            server=self.server,
            world=self.world,
            claim=True,
            chance=self.chance,
            **options
        )

    def die(self):
        """Let go of the files as a killed process does: nothing is said, nothing settled."""
        self.sender.close_adopted()
        self._store.close()

    # The application

    def session(self, opened=True, **columns):
        """Open a session; `opened`: and let the server give its id. Return its entry."""
        self.world.sessions += 1
        entry = self.outbox.add_session("local-%d" % self.world.sessions, OPENING, **columns)
        self.outbox.append(entry, kinds.OPEN, OPENING)
        self.outbox.take_in()
        if opened:
            self.drain()
        return entry

    def event(self, entry, name, **data):
        self.append(entry, kinds.EVENT, build.event(name, data))

    def metric(self, entry, name, value=1):
        self.append(entry, kinds.METRIC, build.metric(name, value))

    def state(self, entry, **state):
        self.append(entry, kinds.STATE, state)

    def end(self, entry):
        self.outbox.say_goodbye(entry, "ended", kinds.END, b"{}")

    def append(self, entry, kind, fields):
        self.outbox.append(entry, kind, build.encode(fields))
        # The keeper's part, where the disk of the test's machine was slow just now.
        self.outbox.take_in()

    # The sender's thread

    def step(self):
        """One step; the time that it takes is a millisecond. Return what the step returned."""
        pause = self.sender.step(self.world.now)
        assert pause is None or (isinstance(pause, numbers.Real) and 0 <= pause < LONG_AGO + 1)
        self.outbox.take_in()
        self.steps += 1
        self.world.pass_(0.001)
        return pause

    def run(self, seconds):
        """Let the thread run for so many seconds of the test's time."""
        until = self.world.now + seconds
        while self.world.now < until:
            pause = self.step()
            if pause is None or pause > until - self.world.now:
                self.world.now = max(until, self.world.now)
            else:
                self.world.pass_(pause)

    def drain(self, within=120.0):
        """Let the thread run until nothing waits; return how long that took."""
        begun, steps = self.world.now, 0
        while any(
            entry.waiting > 0 for outbox in self.sender.outboxes for entry in outbox.entries()
        ):
            pause = self.step()
            steps += 1
            assert steps < 20000, "the sender does not come to an end"
            assert self.world.now - begun <= within, "not drained within %g s" % within
            assert pause is not None, "the sender rests though records wait"
            self.world.pass_(pause)
        return self.world.now - begun
