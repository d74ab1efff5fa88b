"""The outbox under any sequence of events."""

from __future__ import absolute_import, division

import json
import os
import shutil
import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tools.outboxes import MEMORY_DISK, NAME, TroubledStore, Warnings

from datacat.outbox import tables
from datacat.outbox.outbox import Outbox
from datacat.records import build, kinds
from datacat.wire.readback import merge_state

KINDS = (kinds.EVENT, kinds.METRIC, kinds.EXCEPTION, kinds.STATE)
VALUES = st.sampled_from([1, 2, None, {}, {"a": 1}, {"a": None}, {"b": {"a": 2}}])
STATES = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=2)
# What merging neighbours may get wrong: a null where there is no dict, a dict in a null's place.
NESTED = st.dictionaries(
    st.sampled_from("ab"),
    st.sampled_from([1, None, {"a": 1}, {"a": None}, {"b": {"a": None}}]),
    min_size=1,
)
SMALL_CAP = 64 * 1024
NOT_LOST = ("number", "local_id", "accepted", "sent", "events", "metrics", "dead")


class Model(object):
    """What one session was given, and what came out of it."""

    def __init__(self):
        self.accepted = []
        self.out = []


class OutboxMachine(RuleBasedStateMachine):
    """Accepted = sent + waiting + dead + dropped + merged, in order, byte for byte."""

    max_bytes = 1 << 28

    def __init__(self):
        super(OutboxMachine, self).__init__()
        self.folder = tempfile.mkdtemp(dir=MEMORY_DISK)
        self.runs = 0
        self.models = {}
        self.outbox = None
        self.open(os.path.join(self.folder, NAME))
        for name in (u"local-1", u"local-2"):
            self.models[self.outbox.add_session(name, b"{}").number] = Model()

    def open(self, path):
        self.store = TroubledStore(path)
        self.outbox = Outbox(self.store, self.max_bytes, Warnings())

    @rule(
        session=st.sampled_from([1, 2]),
        kind=st.sampled_from(KINDS),
        state=STATES,
        padding=st.integers(0, 3000),
    )
    def append(self, session, kind, state, padding):
        model = self.models[session]
        fields = (
            state
            if kind == kinds.STATE
            else {"name": "n%d" % len(model.accepted), "data": {"p": "x" * padding}}
        )
        body = build.encode(fields)
        assert self.outbox.append(self.entry(session), kind, body)
        model.accepted.append((kind, body))

    @rule(session=st.sampled_from([1, 2]), times=st.integers(1, 5))
    def settle(self, session, times):
        for _ in range(times):
            self.take_out(session, self.outbox.settle)

    @rule(session=st.sampled_from([1, 2]))
    def bury(self, session):
        self.take_out(session, lambda entry, record: self.outbox.bury(entry, record, 400, u"no"))

    def entry(self, session):
        return self.outbox.find(u"local-%d" % session)

    def take_out(self, session, how):
        entry = self.entry(session)
        record = self.outbox.head(entry)
        if record is not None:
            how(entry, record)
            self.models[session].out.append(record)
        return record

    @rule()
    def fill_disk(self):
        self.store.full = True

    @rule()
    def fill_disk_for_inserts(self):
        self.store.full_for_inserts = True

    @rule()
    def heal(self):
        self.store.full = self.store.full_for_inserts = False
        if self.outbox.refusal is not None:
            assert self.outbox.upkeep.heal(None)
        assert self.outbox.refusal is None and self.outbox.in_memory == 0

    @precondition(lambda self: self.outbox.refusal is None)
    @rule()
    def crash_and_reopen(self):
        before = [vars_of(entry) for entry in self.outbox.entries()]
        self.runs += 1
        copy = os.path.join(self.folder, str(self.runs))
        os.mkdir(copy)
        path = os.path.join(copy, NAME)
        for ending in ("", "-wal"):
            shutil.copyfile(self.outbox.path + ending, path + ending)
        self.store.close()
        self.open(path)
        self.check_reopened(before, [vars_of(entry) for entry in self.outbox.entries()])

    def check_reopened(self, before, after):
        assert after == before

    @rule()
    def keep(self):
        self.outbox.upkeep.sync()
        self.outbox.upkeep.shrink()
        self.outbox.upkeep.measure()

    @invariant()
    def all_is_counted(self):
        for session, model in self.models.items():
            entry = self.entry(session)
            assert entry.accepted == len(model.accepted)
            assert entry.sent + entry.dead == len(model.out)
            assert entry.waiting >= 0
            self.check_losses(entry)

    def check_losses(self, entry):
        assert entry.dropped == entry.merged == 0

    def teardown(self):
        self.heal()
        for session, model in self.models.items():
            entry = self.entry(session)
            waiting = entry.waiting
            drained = 0
            while self.take_out(session, self.outbox.settle) is not None:
                drained += 1
            assert drained == waiting and entry.waiting == 0
            check_delivery(model, entry)
        self.outbox.close()
        shutil.rmtree(self.folder)


class CappedMachine(OutboxMachine):
    """The same with so little room that records must go."""

    max_bytes = SMALL_CAP

    @rule(session=st.sampled_from([1, 2]), updates=st.lists(NESTED, min_size=2, max_size=4))
    def append_large_states(self, session, updates):
        """Neighbours that take so much room that they are merged."""
        for number in range(20):
            update = dict(updates[number % len(updates)], padding="x" * 5000)
            self.append(session, kinds.STATE, update, 0)

    @rule(session=st.sampled_from([1, 2]), kind=st.sampled_from(KINDS), state=STATES)
    def append_many(self, session, kind, state):
        for _ in range(20):
            self.append(session, kind, state, 1000)

    @rule()
    def keep(self):
        super(CappedMachine, self).keep()
        if self.outbox.refusal is None and not self.store.full:
            dead = sum(len(letter.record.body) for letter in self.outbox.dead_letters())
            assert self.store.size() < 1.5 * SMALL_CAP + 2 * dead, "the cap holds"

    def check_losses(self, entry):
        """Here they are part of the game."""

    def check_reopened(self, before, after):
        """Opening makes room where there is too much."""
        for one, other in zip(before, after):
            assert [one[name] for name in NOT_LOST] == [other[name] for name in NOT_LOST]


def vars_of(entry):
    return dict((name, getattr(entry, name)) for name in tables.COLUMNS)


def check_delivery(model, entry):
    """What came out is what went in, in order; a state may have others merged into it."""
    place, sent_states = 0, []
    for record in model.out:
        place += 1
        while model.accepted[place - 1][0] != record.kind or record.number != place:
            place += 1
        if record.kind == kinds.STATE:
            sent_states.append(json.loads(record.body.decode("ascii")))
        else:
            assert model.accepted[place - 1] == (record.kind, record.body)
    assert len(model.accepted) == len(model.out) + entry.dropped + entry.merged
    given = [
        json.loads(body.decode("ascii")) for kind, body in model.accepted if kind == kinds.STATE
    ]
    if len(given) - len(sent_states) == entry.merged:
        for null_deletes in (False, True):
            assert result(given, null_deletes) == result(sent_states, null_deletes)


def result(updates, null_deletes):
    state = {"a": {"a": 0, "z": {}}, "c": 7}
    for update in updates:
        state = merge_state(state, update, null_deletes)
    return state


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestCappedOutbox = CappedMachine.TestCase
TestCappedOutbox.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
