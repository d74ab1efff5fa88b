"""Whatever happens to the sender, everything that was accepted arrives, once and in order.

Hypothesis logs, breaks the server in every way, lets somebody else write, time pass, this and
other processes die.  What arrived is read from the server, what was accepted from the test's own
list.
"""

from __future__ import absolute_import, division

import collections
import json
import random
import shutil
import tempfile

from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tools.memory_server import (
    apply_late,
    cut_short,
    lose_answer,
    never_answer,
    portal,
    refuse,
    say,
)
from tools.merged_state import merge
from tools.sending import Bench

from datacat.outbox.shared import mark_shared
from datacat.records import build, kinds

HTML = "text/html"
# What a session may begin with.
FIRST = {"first": 0}
POISON = "poison"
PANIC = "panic"
LIBRARY = frozenset(
    (
        "session_opened_offline",
        "session_ended_offline",
        "session_reopened",
        "session_rotated",
        "session_crash_report",
        "session_crashed_detected",
    )
)
FAULTS = [
    refuse,
    cut_short,
    lose_answer,
    never_answer,
    portal,
    apply_late(1.5),
    say(500, "oops"),
    say(500, "oops", applied=True),
    say(502, "<html>", HTML),
    say(502, "<html>", HTML, applied=True),
    say(504, "", applied=True),
    say(204, "", applied=True),
    say(503, "busy"),
    say(503, "busy", Retry_After=7),
    say(429, "busy", Retry_After=100),
    say(408, "busy", Retry_After="soon"),
    say(401, "Unauthorized\n"),
    say(403, "<html>", HTML),
    say(302, "", Location="http://portal/"),
    say(404, "Not found\n"),
    say(405, "no"),
    say(400, "<html>", HTML),
    say(451, "<html>", HTML),
    say(407, "proxy"),
]
# These may be a record's own fault where only one record meets them.
WHOLE_SERVER_FAULTS = FAULTS + [say(400, "Bad Request\n"), say(422, "what?")]
UNREADABLE = say(500, "no such table\n")
LONGEST_DRAIN = 1500.0
# Outboxes are adopted once a minute.
ADOPTED_WITHIN = 130.0

faults = strategies.sampled_from(FAULTS)
which = strategies.integers(0, 2)


class WatchedBench(Bench):
    """A Bench that knows every session in its outboxes, including adopted ones.

    :param known: a dict of each session's latest Entry, by its local id.
    """

    def __init__(self, folder, known, **options):
        self._known = known
        super(WatchedBench, self).__init__(folder, **options)

    def step(self):
        pause = super(WatchedBench, self).step()
        self.watch()
        return pause

    def watch(self):
        for outbox in self.sender.outboxes:
            self._known.update((entry.local_id, entry) for entry in outbox.entries())


class Sending(RuleBasedStateMachine):

    def __init__(self):
        super(Sending, self).__init__()
        self.folder = tempfile.mkdtemp()
        self.accepted = collections.OrderedDict()
        self.states = collections.defaultdict(dict)
        self.known = {}
        self.living = []
        self.data_was_lost = False
        self.marks = 0
        self.bench = None

    @initialize(
        classic=strategies.booleans(),
        seed=strategies.integers(0, 99),
        windows=strategies.booleans(),
        rotate_after=strategies.sampled_from([None, 3, "0.2 kB"]),
    )
    def begin(self, classic, seed, windows, rotate_after):
        self.rotate_after = rotate_after
        self.bench = WatchedBench(
            self.folder,
            self.known,
            classic=classic,
            adopts=True,
            chance=random.Random(seed).random,
            rotate_after=rotate_after,
        )
        self.bench.server.windows = windows
        self.bench.server.poison = {
            POISON: say(400, "Invalid request body\n"),
            PANIC: say(500, "panic\n"),
        }
        self.session()

    def teardown(self):
        try:
            if self.bench is not None:
                self.everything_arrives_when_the_faults_are_over()
        finally:
            if self.bench is not None:
                self.bench.die()
            shutil.rmtree(self.folder)

    # What the application does

    def entry(self, number):
        there = self.bench.outbox.entries()
        # A session that is over is forgotten; letting it log again is the pipeline's work.
        self.living = [entry for entry in self.living if entry in there]
        if not self.living:
            self.session()
        return self.living[number % len(self.living)]

    def mark(self, entry, kind):
        self.marks += 1
        self.accepted[self.marks] = (entry.local_id, kind)
        return self.marks

    @precondition(lambda self: len(self.living) < 3)
    @rule(has_state=strategies.booleans())
    def session(self, has_state=False):
        entry = self.bench.session(opened=False, restoring=int(has_state))
        if has_state:
            self.bench.outbox.update(entry, build.encode(FIRST))
            self.states[entry.local_id] = dict(FIRST)
        self.living.append(entry)

    @rule(
        number=which,
        name=strategies.sampled_from(["a", "b", "c", POISON]),
        times=strategies.integers(1, 4),
        extras=strategies.sampled_from([{}, {"message": "m", "labels": ["l"]}]),
    )
    def event(self, number, name, times, extras=()):
        for _ in range(times):
            entry = self.entry(number)
            fields = build.event(name, {"mark": self.mark(entry, name)}, **dict(extras))
            self.bench.append(entry, kinds.EVENT, fields)

    @precondition(lambda self: PANIC not in [kind for _, kind in self.accepted.values()])
    @rule(number=which)
    def event_that_fails_by_itself(self, number):
        """Once only: it takes its session ten minutes."""
        self.event(number, PANIC, 1)

    @rule(number=which)
    def metric(self, number):
        entry = self.entry(number)
        fields = build.metric("m", self.mark(entry, "metric"), unit="s")
        self.bench.append(entry, kinds.METRIC, fields)

    @rule(
        number=which,
        key=strategies.sampled_from("pq"),
        shape=strategies.sampled_from(["plain", "nested", "null"]),
    )
    def state(self, number, key, shape):
        entry = self.entry(number)
        mark = self.mark(entry, "state")
        value = {"plain": mark, "nested": {"k%d" % (mark % 3): mark}, "null": None}[shape]
        update = {key: value}
        self.states[entry.local_id] = merge(
            self.states[entry.local_id], update, null_deletes=not self.bench.server.classic
        )
        self.bench.state(entry, **update)

    @rule(number=which)
    def end(self, number):
        entry = self.entry(number)
        if not entry.goodbye:
            self.bench.end(entry)

    # What befalls it

    def strike(self, several, concerned):
        """Let faults meet the next requests of a kind, and end a fault of all requests."""
        self.bench.server.fault = None
        self.bench.server.concerned = concerned
        self.bench.server.next_faults.extend(several)

    @rule(several=strategies.lists(faults, min_size=1, max_size=4))
    def some_requests_fail(self, several):
        self.strike(several, lambda request: True)

    @rule(number=which, fault=faults, steps=strategies.integers(0, 6))
    def a_record_meets_a_fault(self, number, fault, steps):
        """The faults above mostly strike whatever is asked first, and seldom a record."""
        self.event(number, "a", 1)
        self.strike([fault], lambda request: request.path.endswith("/events"))
        for _ in range(steps):
            self.bench.world.pass_(self.bench.step() or 0)

    @rule(
        number=which,
        seconds=strategies.sampled_from([0.05, 1.0, 1.9]),
        steps=strategies.integers(1, 6),
    )
    def a_record_is_applied_late(self, number, seconds, steps):
        """Its connection broke, but within the quiet period the server applies it."""
        self.a_record_meets_a_fault(number, apply_late(seconds), steps)

    @rule(number=which, times=strategies.integers(1, 5), steps=strategies.integers(0, 6))
    def a_read_back_fails(self, number, times, steps):
        """An answer is lost, and the server does not show the session for a while."""
        self.event(number, "a", 1)
        self.strike(
            [lose_answer] + [UNREADABLE] * times,
            lambda request: (
                request.path.endswith("/events")
                or request.method == "GET"
                and request.path != "/health"
            ),
        )
        for _ in range(steps):
            self.bench.world.pass_(self.bench.step() or 0)

    @rule(number=which)
    def somebody_else_writes(self, number):
        """A forked child, or this process by session.client: the pipeline marks it as shared."""
        entry = self.entry(number)
        stored = self.bench.server.sessions.get(entry.server_id)
        if stored is not None:
            self.bench.outbox.update(entry, shared=1)
            stored["events"].append({"timestamp": "@", "name": "aside", "data": {}})

    @rule(number=which)
    def a_forked_child_writes_the_same(self, number):
        """What the oldest record says, after its mark beside our outbox."""
        entry = self.entry(number)
        stored = self.bench.server.sessions.get(entry.server_id)
        head = self.bench.outbox.head(entry)
        if stored is not None and head is not None and head.kind == kinds.EVENT:
            mark_shared(self.bench.outbox.path, entry.server_id)
            fields = json.loads(head.body.decode("ascii"))
            fields["timestamp"] = "@"
            stored["events"].append(fields)

    @rule(fault=strategies.sampled_from(WHOLE_SERVER_FAULTS))
    def all_requests_fail(self, fault):
        self.bench.server.concerned = lambda request: True
        self.bench.server.fault = fault

    @rule()
    def the_server_is_well(self):
        self.bench.server.fault = None

    @rule()
    def the_server_loses_its_data(self):
        self.data_was_lost = True
        self.bench.server.lose_data()

    @rule(steps=strategies.integers(1, 20))
    def steps_are_taken(self, steps):
        for _ in range(steps):
            self.bench.step()

    @rule(seconds=strategies.sampled_from([0.05, 0.5, 3, 20, 100, 700]))
    def time_passes(self, seconds):
        self.bench.run(seconds)

    @rule()
    def somebody_flushes(self):
        self.bench.sender.hurry()

    @rule()
    def the_pipeline_is_closed_and_reopened(self):
        self.bench.sender.close_adopted()
        self.bench.employ()

    @rule(fold_fields=strategies.booleans(), stamp_late=strategies.booleans())
    def the_process_is_killed_and_started_again(self, fold_fields, stamp_late):
        self.living = []
        self.bench.die()
        self.bench = WatchedBench(
            self.folder,
            self.known,
            server=self.bench.server,
            world=self.bench.world,
            claim=True,
            chance=self.bench.chance,
            adopts=True,
            fold_fields=fold_fields,
            stamp_late=stamp_late,
            rotate_after=self.rotate_after,
        )

    @rule(times=strategies.integers(0, 3), steps=strategies.integers(0, 8))
    def another_process_lives_and_dies(self, times, steps):
        other = WatchedBench(
            self.folder,
            self.known,
            server=self.bench.server,
            world=self.bench.world,
            chance=self.bench.chance,
        )
        entry = other.session(opened=False)
        for _ in range(times):
            other.event(entry, "a", mark=self.mark(entry, "a"))
        for _ in range(steps):
            other.world.pass_(other.step() or 0)
        other.watch()
        other.die()

    @rule(
        number=which,
        seconds=strategies.sampled_from([60, 500]),
        fault=strategies.sampled_from([say(500, "oops"), say(403, "<html>", HTML)]),
    )
    def records_fail_by_themselves_for_minutes(self, number, seconds, fault):
        """Less than ten: nothing is given up."""
        self.everything_arrives_when_the_faults_are_over()
        self.event(number, "a", 1)
        self.strike([], lambda request: request.path.endswith("/events"))
        self.bench.server.fault = fault
        self.bench.run(seconds)
        self.everything_arrives_when_the_faults_are_over()

    @rule()
    def everything_arrives_when_the_faults_are_over(self):
        """The queue drains in bounded time and steps, and then nothing is missing."""
        self.bench.server.fault = None
        del self.bench.server.next_faults[:]
        # What others left is adopted once the server is known to be there.
        self.event(0, "a", 1)
        self.bench.drain(within=LONGEST_DRAIN)
        self.bench.run(ADOPTED_WITHIN)
        self.bench.drain(within=LONGEST_DRAIN)
        self.nothing_is_out_of_order_twice_or_made_up()
        arrived = set(mark for _, mark, _ in self.arrivals())
        states = set(mark for mark, (_, kind) in self.accepted.items() if kind == "state")
        poison = set(mark for mark, (_, kind) in self.accepted.items() if kind in (POISON, PANIC))
        assert arrived == set(self.accepted) - states - poison
        assert sorted(self.accepted[mark][0] for mark in poison) == sorted(
            entry.local_id for entry in self.known.values() for _ in range(entry.dead)
        )
        self.states_are_right()
        assert self.data_was_lost or self.rotate_after or not self.split_sessions()

    def split_sessions(self):
        """Return the sessions whose records are in more than one of the server's."""
        homes = collections.defaultdict(set)
        for server_id, mark, _ in self.arrivals():
            homes[self.accepted[mark][0]].add(server_id)
        return [local_id for local_id, there in homes.items() if len(there) > 1]

    def states_are_right(self):
        for local_id, entry in self.known.items():
            if "-until-" in local_id:
                continue  # what was left behind for the next session
            stored = self.bench.server.sessions.get(entry.server_id)
            if stored is not None:
                state = dict(stored["state"])
                state.pop("product", None), state.pop("version", None)
                assert state == self.states[local_id]

    # What must hold at every moment

    def arrivals(self):
        """(server id, mark, event or metric) of what arrived, in order."""
        found = []
        for server_id, operation, fields in self.bench.server.applied:
            if operation == "metrics":
                found.append((server_id, fields["value"], "metric"))
            elif operation == "events" and fields["name"] not in LIBRARY:
                found.append((server_id, fields["data"]["mark"], fields["name"]))
        return found

    @invariant()
    def nothing_is_out_of_order_twice_or_made_up(self):
        if self.bench is None:
            return
        self.bench.watch()
        arrivals = self.arrivals()
        first = collections.defaultdict(list)
        for server_id, mark, kind in arrivals:
            local_id, accepted_kind = self.accepted[mark]
            assert kind == accepted_kind
            # What was lost with the server's data is sent again, from the oldest record that was
            # not settled on, and nobody saw what had overtaken it.
            where = server_id if self.data_was_lost else None
            if mark not in first[local_id, where]:
                first[local_id, where].append(mark)
        for (local_id, _), marks in first.items():
            late = sum(mark < max(marks[: place + 1]) for place, mark in enumerate(marks))
            assert late <= self.known[local_id].overtaken, "out of order"
        twice = collections.Counter(
            self.accepted[mark][0]
            for (_, mark), times in collections.Counter(
                (each[0], each[1]) for each in arrivals
            ).items()
            for _ in range(times - 1)
        )
        for local_id, times in twice.items():
            assert times <= self.known[local_id].possibly_twice, "twice and not counted"

    @invariant()
    def every_record_is_accounted_for(self):
        if self.bench is None:
            return
        for entry in self.bench.outbox.entries():
            assert entry.waiting >= 0 and entry.dropped == entry.merged == 0
            logged = sum(1 for local_id, _ in self.accepted.values() if local_id == entry.local_id)
            assert entry.accepted >= logged + 1, "more logged than accepted"
            assert entry.waiting == waiting_on_disk(self.bench, entry)


def waiting_on_disk(bench, entry):
    found = 0
    after = 0
    while True:
        page, _ = bench.store.page(entry.number, after)
        if not page:
            return found
        found += len(page)
        after = page[-1].number


TestSending = Sending.TestCase
TestSending.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
