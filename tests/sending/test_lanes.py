"""Promises of whose turn it is, of waiting and hurrying, and of noticing a growing backlog."""

from __future__ import absolute_import, division

import collections

import pytest

from datacat import errors
from datacat.sending import lanes

AWAY = errors.NotSent("refused")
CUT = errors.OutcomeUnknown("cut")
FAULT = errors.ServerFault("oops", status=500)
Head = collections.namedtuple("Head", "captured")


class Entry(object):
    def __init__(self, number, server_id="id", waiting=1, restoring=0, goodbye=None):
        self.number = number
        self.server_id = server_id
        self.waiting = waiting
        self.restoring = restoring
        self.goodbye = goodbye


class Outbox(object):
    """As much of one as a lane looks at."""

    def __init__(self, captured):
        self.captured = captured
        self.asked = 0

    def head(self, number):
        self.asked += 1
        return Head(self.captured) if self.captured else None


def lane(number, captured=100, adopted=False, due=0.0, **columns):
    made = lanes.Lane(Outbox(captured), Entry(number, **columns), adopted)
    made.due = due
    return made


def chosen(*candidates, **options):
    found = lanes.choose(candidates, options.get("now", 1000.0), options.get("turn", 0))
    return found and found.entry.number


def half():
    return 0.5


# -- whose turn


def test_the_oldest_record_goes_first():
    assert chosen(lane(1, 300), lane(2, 100), lane(3, 200)) == 2


def test_an_open_goes_before_older_records():
    assert chosen(lane(1, 100), lane(2, 300, server_id=None)) == 2


def test_a_lane_that_waits_holds_back_only_itself():
    assert chosen(lane(1, 100, due=1000.1), lane(2, 300)) == 2
    assert chosen(lane(1, 100, due=1000.0), lane(2, 300)) == 1


def test_a_lane_without_work_has_no_turn():
    assert chosen(lane(1, waiting=0)) is None
    assert chosen() is None


def test_a_lost_session_s_state_is_work_though_no_record_waits():
    assert chosen(lane(1, waiting=0, restoring=1)) == 1
    assert chosen(lane(1, waiting=0, restoring=1, server_id=None)) is None


def test_live_sessions_go_before_adopted_ones_but_every_tenth_turn_is_an_adopted_one_s():
    candidates = (lane(1, 300), lane(2, 100, adopted=True))
    turns = [chosen(*candidates, turn=turn) for turn in range(20)]
    assert turns == ([1] * 9 + [2]) * 2


def test_an_adopted_turn_goes_to_a_live_session_where_no_adopted_one_is_ready():
    assert chosen(lane(1), lane(2, adopted=True, due=2000.0), lane(3), turn=9) == 1


def test_choosing_asks_for_a_head_once_until_the_lane_moves_on():
    one, two = lane(1), lane(2)
    for _ in range(3):
        chosen(one, two)
    assert one.outbox.asked == 1
    one.moved_on()
    chosen(one, two)
    assert one.outbox.asked == 2


def test_the_next_due_time_is_the_earliest_of_those_with_work():
    assert lanes.next_due([lane(1, due=5.0), lane(2, due=3.0), lane(3, due=1.0, waiting=0)]) == 3.0
    assert lanes.next_due([lane(1, waiting=0)]) is None


# -- the way to the server


def test_nothing_is_known_of_a_server_before_the_first_attempt():
    assert lanes.Link().online is None


def test_a_link_is_online_after_a_success_and_not_after_a_failure():
    link = lanes.Link()
    link.succeeded()
    assert link.online is True
    link.failed(AWAY, 10.0, half)
    assert link.online is False and link.last_error is AWAY
    assert link.due == 10.25


def test_one_answer_that_did_not_come_does_not_make_a_server_away_and_a_second_does():
    link = lanes.Link()
    link.failed(CUT, 0.0, half)
    assert link.online is None
    link.succeeded()
    link.failed(CUT, 0.0, half)
    assert link.online is True
    link.failed(CUT, 0.0, half)
    assert link.online is False


def test_a_success_forgets_the_backoff():
    link = lanes.Link()
    for _ in range(5):
        link.failed(AWAY, 10.0, half)
    assert link.due == 14.0
    link.succeeded()
    assert link.due == 0.0
    link.failed(AWAY, 10.0, half)
    assert link.due == 10.25


@pytest.mark.parametrize("waiting", [lanes.Link, lambda: lane(1)])
def test_a_hurry_cuts_a_backoff_short_but_never_a_retry_after(waiting):
    one = waiting()
    one.failed(AWAY, 10.0, half)
    one.hurry()
    assert one.due == 0.0
    one.failed(errors.ServerBusy("busy", retry_after=60.0), 10.0, half)
    one.hurry()
    assert one.due == 70.0


def test_a_hurry_does_not_cut_a_quiet_period_short():
    one = lane(1)
    one.wait(12.0)
    one.hurry()
    assert one.due == 12.0


# -- a record's fate


def test_a_record_is_poison_after_ten_blames_over_ten_minutes_and_the_next_starts_afresh():
    one = lane(1)
    for now in range(9):
        one.blame(now * 70.0)
    assert not one.is_poisoned(630.0)
    one.blame(630.0)
    assert one.is_poisoned(630.0)
    one.moved_on()
    assert not one.is_poisoned(630.0)


def test_failures_that_were_not_the_record_s_do_not_count():
    one = lane(1)
    for now in range(100):
        one.failed(AWAY, now * 10.0, half)
    assert not one.is_poisoned(1000.0)


def test_the_third_refusal_in_a_row_with_the_same_words_is_suspicious():
    one = lane(1)
    assert [one.refused("no") for _ in range(4)] == [False, False, True, True]
    assert [one.refused(words) for words in ("yes", "no", "no")] == [False, False, False]
    one.not_suspicious()
    assert one.refused("no") is False


def test_finding_out_is_over_after_three_failures_or_a_minute():
    doubt = lanes.Doubt(None)
    assert not doubt.is_over(FAULT, 1e9)
    doubt.failed(10.0)
    assert not doubt.is_over(FAULT, 69.0)
    assert doubt.is_over(FAULT, 70.0)
    doubt.failed(11.0)
    doubt.failed(12.0)
    assert doubt.is_over(FAULT, 12.0)


# -- the backlog


def seen(*samples):
    backlog = lanes.Backlog()
    return [backlog.is_due(now) and backlog.grows(waiting, now) for now, waiting in samples]


def test_more_accepted_than_delivered_for_ten_minutes_is_noticed_and_not_before():
    assert seen((0, 10), (299, 20), (300, 20), (599, 30), (600, 30)) == [
        False,
        False,
        False,
        False,
        True,
    ]


def test_a_burst_that_is_being_worked_off_is_no_backlog():
    assert seen((0, 10), (300, 9000), (600, 5000), (900, 1000)) == [False] * 4


def test_a_steady_number_of_waiting_records_is_no_backlog():
    assert seen((0, 50), (300, 50), (600, 50), (900, 50)) == [False] * 4


def test_a_moment_without_waiting_records_begins_the_ten_minutes_again():
    backlog = lanes.Backlog()
    backlog.grows(1, 0.0)
    backlog.grows(2, 300.0)
    backlog.is_over()
    assert not backlog.grows(3, 600.0)
    assert not backlog.grows(4, 900.0)
    assert backlog.grows(5, 1200.0)
