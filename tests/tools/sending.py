"""A Sender under test: a real outbox in a file, a server in memory, time set by the test."""

from __future__ import absolute_import, division

import json
import numbers

from datacat import settings
from datacat.outbox.learned import Learned
from datacat.outbox.names import learned_of
from datacat.outbox.outbox import Outbox
from datacat.outbox.spool import Spool
from datacat.records import build, kinds
from datacat.sending.looks import Looks
from datacat.sending.sender import Sender
from tools.memory_server import MemoryServer, World, say
from tools.outboxes import WHERE

OPENING = build.encode(build.opening("product", "1"))
LONGEST_PAUSE = 4501.0

NAMES = ["one", "two", "three"]
HTML = "text/html"
OWN_400 = say(400, "Invalid request body\n")
# What `counts` returns for a session without waiting or lost records.
CLEAN = (0, 0, 0, 0, 0)


class Warnings(object):
    """Stands in for Notices: what was logged, each topic once until it is cleared.

    :ivar expected: topics that a test provokes; any other one of a bug or a loss fails the test.
    """

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
    """One process's sender; `again()` returns that of the next process on the same folder.

    :param folder: the folder of outboxes (text).
    :param adopts: whether it adopts the outboxes of dead processes.
    :param claim: whether it continues a free outbox, as a starting process does.
    :ivar is_paused: whether the application wants nothing to be sent.
    """

    def __init__(
        self,
        folder,
        classic=False,
        server=None,
        world=None,
        adopts=False,
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
        self.spool = Spool(folder, WHERE, False, self.warnings)
        self.store = self.spool.claim() if claim else self.spool.create()
        self.outbox = Outbox(self.store, 256 * 1024 * 1024, self.warnings, wall=self.world.wall)
        self.steps = 0
        self.redact = None
        self.is_paused = False
        self._adopts = adopts
        self._settings = settings.resolve("http://server", product="p", version="1", **options)
        self.employ(self.outbox.entries(), predecessor)

    def employ(self, inherited=(), predecessor=None):
        """Start a new Sender on the outbox, as after close() in the same process."""
        learned = Learned(learned_of(self.outbox.path), self.world.wall)
        self.sender = Sender(
            self._settings,
            self.server,
            self.outbox,
            self.spool if self._adopts else None,
            self.warnings,
            inherited,
            predecessor,
            self.redact,
            learned,
            wall=self.world.wall,
            chance=self.chance,
            clock=self.world.clock,
            is_paused=lambda: self.is_paused,
        )
        self.link = self.sender.server.link
        self.looks = Looks(self.sender.server, self.warnings, self.world.clock, learned)

    def again(self, **options):
        """Let this process die; return the Bench of the next one."""
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
        """Release the files as a killed process does, without saving anything."""
        self.sender.close_adopted()
        self.store.close()

    # The application

    def session(self, opened=True, **columns):
        """Open a session and return its entry.

        :param opened: whether to run until the server has given it an id.
        """
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
        # As the keeper does, in case the disk of the test's machine was slow just now.
        self.outbox.take_in()

    # The sender's thread

    def step(self):
        """Let one step pass, a millisecond long; return what the sender returned."""
        pause = self.sender.step(self.world.now)
        assert pause is None or (isinstance(pause, numbers.Real) and 0 <= pause < LONGEST_PAUSE)
        self.outbox.take_in()
        self.steps += 1
        self.world.pass_(0.001)
        return pause

    def run(self, seconds):
        """Let the thread run for some seconds of the test's time."""
        until = self.world.now + seconds
        while self.world.now < until:
            pause = self.step()
            if pause is None or pause > until - self.world.now:
                self.world.now = max(until, self.world.now)
            else:
                self.world.pass_(pause)

    def drain(self, within=120.0):
        """Let the thread run until nothing waits; return how many seconds that took."""
        begun, steps = self.world.now, 0
        while any(
            entry.waiting > 0 for outbox in self.sender.outboxes for entry in outbox.entries()
        ):
            pause = self.step()
            steps += 1
            assert steps < 20000, "the sender never rests"
            assert self.world.now - begun <= within, "not drained within %g s" % within
            assert pause is not None, "the sender rests though records wait"
            self.world.pass_(pause)
        return self.world.now - begun

    # What the server got

    def reads(self):
        """Return the GETs of a session, in order."""
        return [request for request in self.server.calls if is_read(request)]


def prepared(bench):
    """Return a bench with its server recognised and an open, empty session: `bench.entry`."""
    bench.entry = bench.session()
    bench.run(0.01)
    if bench.server.classic:
        assert bench.looks.recognise_by(bench.entry) is None
    return bench


def log(bench, names=NAMES):
    """Log an event with each name to the bench's session."""
    for name in names:
        bench.event(bench.entry, name)


def counts(entry):
    """Return (waiting, dead, dropped, merged, possibly_twice) of a session."""
    return (entry.waiting, entry.dead, entry.dropped, entry.merged, entry.possibly_twice)


def is_write(request):
    """Return whether a request delivers a record."""
    return (
        request.method == "POST"
        and request.path.startswith("/api/sessions/")
        and not request.path.endswith("/heartbeat")
    )


def is_event(request):
    """Return whether a request delivers an event."""
    return request.path.endswith("/events")


def is_open(request):
    """Return whether a request creates a session."""
    return request.path == "/api/sessions"


def is_read(request):
    """Return whether a request is the GET of a session."""
    return request.method == "GET" and request.path.startswith("/api/sessions/")


def is_any(request):
    """Return True."""
    return True


def name_of(request):
    """Return the name of the event that a request delivers."""
    return json.loads(request.body.decode("ascii"))["name"]
