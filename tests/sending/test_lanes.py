"""Promises of the lanes: whose turn it is, pauses, and what is known of an oldest record."""

from __future__ import absolute_import, division

import collections

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from datacat import errors
from datacat.records import kinds
from datacat.sending.lanes import ADOPTED_TURN, Lane, Lanes

AWAY = errors.NotSent("refused")
BUSY = errors.ServerBusy("busy", retry_after=60.0)
Head = collections.namedtuple("Head", "number captured kind")


class Entry(object):
    """What a lane needs of an outbox's entry."""

    def __init__(self, number=1, server_id="id", waiting=1, restoring=0, goodbye=None):
        self.number = number
        self.captured = 100
        self.server_id = server_id
        self.waiting = waiting
        self.restoring = restoring
        self.goodbye = goodbye
        self.forgotten = False


class Outbox(object):
    """What lanes need of an outbox; an entry has its session's oldest record."""

    def __init__(self):
        self.asked = 0

    def has(self, entry):
        return not entry.forgotten

    def head(self, entry):
        self.asked += 1
        return Head(1, entry.captured, kinds.EVENT) if self.has(entry) else None


def half():
    return 0.5


@pytest.fixture
def outbox():
    return Outbox()


@pytest.fixture
def lanes():
    return Lanes()


@pytest.fixture
def add(lanes, outbox):
    """Adds a lane by the capture time of its oldest record: add(captured, number, ...)."""

    def one(captured=100, number=1, is_adopted=False, **columns):
        return lanes.add(outbox, Entry(number, **columns), captured, is_adopted)

    return one


def turns(lanes, count, now=1000.0):
    """Return the numbers of the sessions that have the next turns, served without any change."""
    found = []
    for _ in range(count):
        lane = lanes.next(now)
        found.append(lane.entry.number)
        lanes.served(lane)
    return found


# -- whose turn


def test_the_oldest_record_goes_first(lanes, add):
    add(300, 1), add(100, 2), add(200, 3)
    assert lanes.next(0.0).entry.number == 2


def test_an_open_goes_before_older_records(lanes, add):
    add(100, 1), add(300, 2, server_id=None)
    assert lanes.next(0.0).entry.number == 2


def test_without_lanes_nothing_has_a_turn(lanes):
    assert lanes.next(0.0) is None and lanes.next_due() is None


def test_the_turn_stays_with_a_lane_until_it_is_served(lanes, add):
    add(100, 1), add(200, 2)
    assert [lanes.next(0.0).entry.number for _ in range(3)] == [1, 1, 1]


def test_after_its_turn_a_lane_is_filed_by_its_next_record(lanes, add):
    first = add(100, 1)
    add(200, 2)
    first.move_on()
    first.entry.captured = 300
    lanes.served(first)
    assert lanes.next(0.0).entry.number == 2


def test_a_lane_asks_for_its_oldest_record_once_until_it_moves_on(lanes, add, outbox):
    lane = add(100, 1)
    add(200, 2)
    turns(lanes, 5)
    assert outbox.asked == 0
    lane.move_on()
    turns(lanes, 5)
    assert outbox.asked == 1


def test_a_lane_that_is_ready_alone_asks_for_nothing_until_there_is_another(lanes, add, outbox):
    lane = add(100, 1)
    for _ in range(5):
        lane.move_on()
        assert turns(lanes, 1) == [1]
    assert outbox.asked == 0
    lane.entry.captured = 300
    add(200, 2)
    assert lanes.next(0.0).entry.number == 2 and outbox.asked == 1


def test_a_session_that_was_opened_alone_gives_way_to_the_next_open(lanes, add):
    lane = add(100, 1, server_id=None)
    lane.entry.server_id = "id"
    lane.move_on()
    lanes.served(lane)
    add(200, 2, server_id=None)
    assert lanes.next(0.0).entry.number == 2


def test_live_sessions_go_before_adopted_ones_but_every_tenth_turn_is_an_adopted_ones(lanes, add):
    add(300, 1), add(100, 2, is_adopted=True)
    assert turns(lanes, 20) == ([1] * 9 + [2]) * 2


def test_an_adopted_ones_turn_goes_to_a_live_session_where_no_adopted_one_is_ready(lanes, add):
    add(100, 1)
    paused = add(100, 2, is_adopted=True)
    paused.wait(2000.0)
    lanes.served(paused)
    assert turns(lanes, 2 * ADOPTED_TURN) == [1] * 2 * ADOPTED_TURN


# -- nothing to send


def test_a_lane_without_work_has_neither_turn_nor_due_time(lanes, add):
    lane = add(100, 1)
    lane.entry.waiting = 0
    lane.wait(1060.0)
    lanes.served(lane)
    assert lanes.next(2000.0) is None and lanes.next_due() is None


def test_an_idle_lane_is_ready_again_once_it_gets_a_record(lanes, outbox, add):
    lane = add(100, 1)
    lane.entry.waiting = 0
    lanes.served(lane)
    assert lanes.next(1000.0) is None and lanes.next_due() is None
    lane.entry.waiting = 1
    assert lanes.add(outbox, lane.entry, 200, False) is lane
    assert lanes.next(1000.0) is lane and lane.captured == 200


def test_a_record_does_not_end_a_pause(lanes, outbox, add):
    lane = add(100, 1)
    lane.wait(1060.0)
    lanes.served(lane)
    lanes.add(outbox, lane.entry, 200, False)
    assert lanes.next(1000.0) is None and lanes.next_due() == 1060.0


def test_a_lost_sessions_state_is_work_even_if_no_record_waits(lanes, add):
    lane = add(100, 1, waiting=0, restoring=1)
    lanes.served(lane)
    assert lanes.next(0.0) is lane
    lane.entry.server_id = None
    lanes.served(lane)
    assert lanes.next(0.0) is None


def test_a_forgotten_session_has_no_turn_after_its_next_one(lanes, add):
    lane = add(100, 1)
    lane.entry.forgotten = True
    lane.captured = None
    lane.wait(1001.0)
    lanes.served(lane)
    assert lanes.next(1001.0) is None and lanes.next_due() is None


def test_the_lanes_of_a_closed_outbox_are_gone(lanes, add, outbox):
    add(100, 1, is_adopted=True)
    lanes.drop(outbox)
    assert lanes.next(0.0) is None and not lanes.busy()


def test_an_outbox_has_lanes_as_long_as_something_of_an_adopted_session_waits(lanes, add, outbox):
    lane = add(100, 1, is_adopted=True)
    assert lanes.has_any_of(outbox)
    lane.entry.waiting = 0
    lanes.served(lane)
    assert not lanes.has_any_of(outbox)


@pytest.mark.parametrize("why", ["forgotten", "goodbye"])
def test_a_session_that_is_over_leaves_no_lane(lanes, add, outbox, why):
    lane = add(100, 1)
    setattr(lane.entry, why, True)
    lane.entry.waiting = 0
    lanes.served(lane)
    assert not len(lanes)


def test_an_idle_session_that_says_goodbye_later_leaves_no_lane(lanes, add, outbox):
    lane = add(100, 1)
    lane.entry.waiting = 0
    lanes.served(lane)
    assert len(lanes) == 1
    lane.entry.goodbye = "ended"
    lanes.drop_idle(outbox, lane.entry)
    assert not len(lanes)


def test_a_late_record_of_a_session_that_was_alone_has_one_lane(lanes, add, outbox):
    lane = add(100, 1)
    lanes.served(lane)
    lane.entry.goodbye, lane.entry.waiting = "ended", 0
    lanes.served(lane)
    lane.entry.waiting = 1
    late = lanes.add(outbox, lane.entry, 200, False)
    assert lanes.busy() == [late]


def test_a_session_that_says_goodbye_while_its_record_waits_keeps_its_lane(lanes, add, outbox):
    lane = add(100, 1)
    lane.entry.goodbye = "ended"
    lanes.drop_idle(outbox, lane.entry)
    assert lanes.next(0.0) is lane


# -- pauses


def test_a_lane_that_waits_delays_only_itself(lanes, add):
    waiting = add(100, 1)
    add(300, 2)
    waiting.wait(1000.1)
    lanes.served(waiting)
    assert lanes.next(1000.0).entry.number == 2
    assert lanes.next(1000.1).entry.number == 1


def test_the_next_due_time_is_the_earliest_of_all_pauses(lanes, add):
    for number, due, patient in ((1, 5.0, True), (2, 3.0, False), (3, 4.0, True)):
        lane = add(100, number)
        lane.wait(due, patient)
        lanes.served(lane)
    assert lanes.next_due() == 3.0


def test_hurrying_ends_a_backoff_but_never_a_retry_after_or_a_quiet_period(lanes, add):
    for number, fail in (
        (1, lambda lane: lane.failed(AWAY, 10.0, half)),
        (2, lambda lane: lane.failed(BUSY, 10.0, half)),
        (3, lambda lane: lane.wait(12.0)),
    ):
        lane = add(100, number)
        fail(lane)
        lanes.served(lane)
    assert lanes.next(10.0) is None
    lanes.hurry()
    assert lanes.next(10.0).entry.number == 1
    assert sorted(lane.due for lane in lanes.busy()) == [0.0, 12.0, 77.5]


# -- the oldest record


@pytest.fixture
def lane(outbox):
    return Lane(outbox, Entry(), False)


def test_a_record_is_poison_with_its_tenth_blame_over_ten_minutes_and_the_next_starts_afresh(lane):
    for now in range(9):
        lane.blame(now * 70.0)
    assert not lane.would_be_poisoned(599.9)
    assert lane.would_be_poisoned(600.0)
    lane.move_on()
    assert not lane.would_be_poisoned(630.0)


def test_failures_that_were_not_the_records_do_not_count(lane):
    for now in range(100):
        lane.failed(AWAY, now * 10.0, half)
    assert not lane.would_be_poisoned(1000.0)


def test_refusals_are_counted_as_long_as_they_have_the_same_words(lane):
    words = ["no", "no", "no", "yes", "no", "no"]
    assert [lane.count_refusal(each) for each in words] == [1, 2, 3, 1, 1, 2]
    lane.trust()
    assert lane.count_refusal("no") == 1


def test_a_suspected_head_is_in_doubt_until_it_is_out_of_the_way(lane):
    head = Head(7, 100, kinds.EVENT)
    lane.suspect_head()
    doubt = lane.doubt_about(head)
    assert doubt.number == 7 and doubt.error is None
    assert lane.doubt_about(head) is doubt
    assert lane.doubt_about(head._replace(number=8)) is None


@pytest.mark.parametrize("kind", [kinds.OPEN, kinds.END])
def test_a_suspected_head_that_is_simply_repeated_is_in_no_doubt(lane, kind):
    lane.suspect_head()
    assert lane.doubt_about(Head(1, 100, kind)) is None


def test_the_head_of_a_session_that_is_still_to_be_opened_is_in_no_doubt(outbox):
    lane = Lane(outbox, Entry(server_id=None), False)
    lane.suspect_head()
    assert lane.doubt_about(Head(1, 100, kinds.EVENT)) is None


def test_a_session_may_be_opened_again_ten_minutes_after_the_last_time(lane):
    assert lane.may_reopen(0.0)
    lane.reopened_at = 100.0
    assert not lane.may_reopen(699.9)
    assert lane.may_reopen(700.0)


# -- heaps beside a plain search


class Choosing(RuleBasedStateMachine):
    """The heaps always choose as a search through all lanes would."""

    def __init__(self):
        super(Choosing, self).__init__()
        self.lanes = Lanes()
        self.outboxes = [Outbox(), Outbox()]
        self.all = []
        self.now = 1000.0
        self.served = 0

    def lane(self, number):
        return self.all[number % len(self.all)] if self.all else None

    @precondition(lambda self: len(self.all) < 4)
    @rule(captured=strategies.integers(1, 9), adopted=strategies.booleans())
    def a_session_comes(self, captured, adopted):
        outbox = self.outboxes[adopted]
        entry = Entry(len(self.all), server_id=None if captured % 3 == 0 else "id")
        entry.captured = captured
        self.all.append(self.lanes.add(outbox, entry, captured, adopted))

    @rule(number=strategies.integers(0, 99), captured=strategies.integers(1, 9))
    def an_idle_session_gets_a_record(self, number, captured):
        lane = self.lane(number)
        if lane is not None and lane.entry.waiting == 0:
            lane.entry.waiting = 1
            place = self.all.index(lane)
            lane.entry.captured = captured
            self.all[place] = self.lanes.add(lane.outbox, lane.entry, captured, lane.is_adopted)

    @rule(
        captured=strategies.integers(1, 9),
        waiting=strategies.integers(0, 2),
        pause=strategies.sampled_from([0, 0, 0.5, 3.0]),
        patient=strategies.booleans(),
        goodbye=strategies.booleans(),
    )
    def one_is_served(self, captured, waiting, pause, patient, goodbye):
        lane = self.lanes.next(self.now)
        if lane is None:
            return
        lane.entry.captured = captured
        lane.entry.server_id = "id"
        lane.entry.waiting = waiting
        lane.entry.goodbye = goodbye
        lane.move_on()
        if pause:
            lane.wait(self.now + pause, patient)
        self.lanes.served(lane)
        self.served += 1

    @rule(seconds=strategies.sampled_from([0.4, 1.0, 10.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def somebody_flushes(self):
        self.lanes.hurry()

    @invariant()
    def no_session_has_two_lanes(self):
        busy = [lane.entry for lane in self.lanes.busy()]
        assert len(busy) == len(set(busy))

    @invariant()
    def the_choice_is_that_of_a_search(self):
        chosen = self.lanes.next(self.now)
        ready = [lane for lane in self.all if lane.entry.waiting and lane.due <= self.now]
        if not ready:
            assert chosen is None
            return
        adopted_first = self.served % ADOPTED_TURN == ADOPTED_TURN - 1

        def place(lane):
            entry = lane.entry
            is_open = entry.server_id is not None
            return lane.is_adopted != adopted_first, is_open, entry.captured

        assert place(chosen) == min(map(place, ready))

    @invariant()
    def the_due_time_is_that_of_a_search(self):
        paused = [lane.due for lane in self.all if lane.entry.waiting and lane.due > self.now]
        assert self.lanes.next_due() == (min(paused) if paused else None)


TestChoosing = Choosing.TestCase
TestChoosing.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
