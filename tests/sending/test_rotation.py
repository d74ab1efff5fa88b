"""Promises about `rotate_after`: a session goes on as another one on the server, exactly once."""

from __future__ import absolute_import, division

import itertools

import pytest
from tools.memory_server import cut_short, lose_answer, never_answer, refuse, say
from tools.redacting import shown_to
from tools.sending import CLEAN, counts, is_open, is_write, log, prepared

from datacat.outbox.refusals import StoreRefused
from datacat.outbox.shared import mark_shared
from datacat.records import kinds
from datacat.sending.heartbeats import HEARTBEAT_SECONDS

SEVEN = ["1", "2", "3", "4", "5", "6", "7"]
ROTATED = "session_rotated"


@pytest.fixture(params=[1, 64], ids=["window=1", "window=64"])
def window(request):
    return request.param


@pytest.fixture(params=["v1", "classic"])
def three(request, make_bench, window):
    """A bench of either generation, whose sessions are left after three records."""
    return rotating(make_bench, request.param == "classic", window)


def rotating(make_bench, classic=False, window=64, rotate_after=3, **options):
    bench = make_bench(classic=classic, rotate_after=rotate_after, window=window, **options)
    bench.server.windows = window > 1
    return prepared(bench)


def drain(bench):
    """Drain the bench, its sessions' states and pasts too, until the sender rests."""
    bench.drain()
    bench.run(10)
    bench.drain()


def own(bench):
    """Return the names of the application's events in each of the server's sessions."""
    return [
        [name for name in bench.server.names(each) if "session_" not in name]
        for each in bench.server.sessions
    ]


def check_chain(bench):
    """Check that each session but the newest names the next and is ended; return their ids."""
    ids = list(bench.server.sessions)
    for before, after in zip(ids, ids[1:]):
        said = [
            each for each in bench.server.sessions[before]["events"] if each["name"] == ROTATED
        ]
        assert [each["data"]["next_session_id"] for each in said] == [after]
        assert bench.server.sessions[before]["ended_at"]
    assert bench.entry.server_id == ids[-1]
    return ids


def test_records_go_on_in_the_next_session_which_the_old_one_names_before_it_ends(three):
    log(three, SEVEN)
    drain(three)
    assert own(three) == [["1", "2", "3"], ["4", "5", "6"], ["7"]]
    ids = check_chain(three)
    assert "ended_at" not in three.server.sessions[ids[-1]]
    assert counts(three.entry) == CLEAN and three.entry.sent == 1 + 7
    assert three.entry.local_id == "local-1"


def test_the_next_session_begins_with_the_state_so_far(three):
    three.state(three.entry, a={"b": 1}, c=None)
    three.state(three.entry, a={"d": 2})
    three.event(three.entry, "one")
    three.event(three.entry, "two")
    drain(three)
    old, new = three.server.sessions.values()
    assert new["state"] == old["state"] and new["state"]["a"] == {"b": 1, "d": 2}
    assert [each["name"] for each in new["events"]] == ["two"]
    operations = [operation for where, operation, _ in three.server.applied if where == new["id"]]
    assert operations == ["state", "events"]


def test_nothing_is_opened_before_there_is_a_record_for_it(three):
    log(three, SEVEN[:3])
    drain(three)
    assert len(three.server.sessions) == 1


def test_an_end_goes_to_the_session_that_has_the_records_before_it(three):
    log(three, SEVEN[:3])
    drain(three)
    three.end(three.entry)
    drain(three)
    (only,) = three.server.sessions.values()
    assert only["ended_at"] and ROTATED not in three.server.names()


def test_a_session_whose_end_waits_behind_its_records_is_left_too(three):
    log(three, SEVEN)
    three.end(three.entry)
    drain(three)
    assert own(three) == [["1", "2", "3"], ["4", "5", "6"], ["7"]]
    check_chain(three)
    assert all("ended_at" in each for each in three.server.sessions.values())


def test_what_is_logged_after_the_end_stays_in_the_session_that_was_ended(three):
    log(three, SEVEN[:2])
    three.end(three.entry)
    log(three, SEVEN[2:])
    three.drain()
    assert own(three) == [SEVEN] and len(three.server.sessions) == 1


def test_nothing_is_opened_for_an_end_alone(three):
    log(three, SEVEN[:3])
    three.end(three.entry)
    drain(three)
    assert own(three) == [SEVEN[:3]]


def test_an_end_that_comes_while_the_next_one_opens_ends_that(three):
    def end(server, request):
        three.end(three.entry)
        return server.answer(request)

    log(three, SEVEN[:4])
    three.server.concerned, three.server.next_faults = is_open, [end]
    drain(three)
    assert own(three) == [["1", "2", "3"], ["4"]]
    check_chain(three)
    assert all("ended_at" in each for each in three.server.sessions.values())
    assert three.entry.is_over


def test_bytes_count_as_they_were_logged(make_bench, window):
    bench = rotating(make_bench, window=window, rotate_after="1 kB")
    for name in SEVEN:
        bench.event(bench.entry, name, text="x" * 400)
    drain(bench)
    assert own(bench) == [["1", "2", "3"], ["4", "5", "6"], ["7"]]


def test_off_by_default(make_bench):
    bench = prepared(make_bench())
    log(bench, SEVEN * 100)
    drain(bench)
    assert len(bench.server.sessions) == 1


# What is left behind


def test_flush_and_stats_include_what_the_old_session_still_gets(three):
    log(three, SEVEN[:4])
    three.server.concerned = lambda request: "/server-1/" in request.path
    while three.entry.server_id == "server-1":
        three.step()
    (past,) = three.entry.past
    three.server.fault = refuse
    three.run(1)
    assert past.waiting == 2 and not three.entry.is_delivered
    three.server.fault = None
    three.sender.hurry()
    drain(three)
    assert three.entry.is_delivered
    check_chain(three)


def test_what_was_left_is_forgotten_once_it_is_over(three):
    log(three, SEVEN * 3)
    drain(three)
    assert len(three.server.sessions) == 7
    assert three.outbox.entries() == [three.entry]


def test_the_old_session_gets_its_last_words_although_the_new_one_is_busy(three):
    log(three, SEVEN)
    three.server.concerned = lambda request: request.method == "POST" and (
        "/server-1/" not in request.path
    )
    log(three, [str(number) for number in range(100)])
    while "ended_at" not in three.server.sessions["server-1"]:
        three.step()
    assert three.entry.waiting > 0


def test_an_answer_that_a_last_word_lost_makes_no_copy(three):
    log(three, SEVEN)
    three.server.concerned = lambda request: is_write(request) and (
        ROTATED.encode("ascii") in request.body
    )
    three.server.next_faults = [lose_answer]
    drain(three)
    assert own(three) == [["1", "2", "3"], ["4", "5", "6"], ["7"]]
    check_chain(three)


def test_before_record_sees_the_event_and_may_drop_it(make_bench):
    bench = rotating(make_bench)
    seen = []

    def redact(kind, fields):
        seen.append((kind, fields.get("name")))
        return None if kind == kinds.EVENT else fields

    bench.entry.redact = shown_to(redact)
    log(bench, SEVEN[:4])
    drain(bench)
    assert seen == [(kinds.EVENT, ROTATED), (kinds.END, None)]
    old = bench.server.sessions["server-1"]
    assert [each["name"] for each in old["events"]] == SEVEN[:3] and old["ended_at"]


# Heartbeats and counts


def test_heartbeats_go_to_the_newest_session(make_bench):
    bench = rotating(make_bench)
    log(bench, SEVEN[:4])
    drain(bench)
    bench.run(2 * HEARTBEAT_SECONDS)
    assert [request.path.split("/")[3] for request in bench.server.sent_to("/heartbeat")] == [
        "server-2"
    ] * len(bench.server.sent_to("/heartbeat"))
    assert bench.server.sent_to("/heartbeat")


def test_lost_answers_are_found_by_what_the_newest_session_has(three):
    three.server.concerned = is_write
    for name in SEVEN * 2:
        three.server.next_faults = [lose_answer]
        log(three, [name])
        drain(three)
    assert list(itertools.chain(*own(three))) == SEVEN * 2
    check_chain(three)
    assert counts(three.entry) == CLEAN


# When the next one cannot be opened


@pytest.mark.parametrize("fault", [refuse, say(503, "busy", Retry_After=7)], ids=["away", "busy"])
def test_a_server_that_is_away_or_busy_is_waited_for(three, fault):
    log(three, SEVEN[:4])
    three.server.concerned, three.server.next_faults = is_open, [fault]
    drain(three)
    log(three, SEVEN[4:])
    drain(three)
    assert list(itertools.chain(*own(three))) == SEVEN
    check_chain(three)


@pytest.mark.parametrize(
    "fault",
    [
        say(429, "too many"),
        say(403, "no more sessions"),
        say(400, "Bad Request\n"),
        say(404, "session not found\n"),
        say(500, "oops"),
        say(200, "{}", "application/json"),
        never_answer,
        cut_short,
    ],
)
def test_a_server_that_opens_no_more_gets_everything_in_the_session_that_it_has(three, fault):
    three.server.concerned, three.server.fault = is_open, fault
    log(three, SEVEN)
    three.drain(within=600)
    assert own(three) == [SEVEN]
    assert len(three.warnings.about("rotation")) == 1
    assert counts(three.entry) == CLEAN
    # Not before each record: an attempt may leave a session behind.
    assert len([each for each in three.server.calls if is_open(each)]) <= 1 + 2


def test_a_lost_answer_leaves_one_empty_session(three):
    three.server.concerned, three.server.next_faults = is_open, [lose_answer]
    log(three, SEVEN)
    three.drain(within=600)
    assert own(three) == [SEVEN[:6], [], ["7"]]


def test_a_disk_that_refuses_keeps_the_session_as_it_is(three):
    def fill(server, request):
        three.warnings.expected.add("disk")
        three.outbox.disk.refused(StoreRefused("disk full"))
        return server.answer(request)

    log(three, SEVEN[:4])
    three.server.concerned, three.server.next_faults = is_open, [fill]
    drain(three)
    assert own(three) == [SEVEN[:4], []]
    assert three.entry.server_id == "server-1" and three.outbox.entries() == [three.entry]


def test_nothing_is_opened_while_the_disk_refuses(three, monkeypatch):
    three.warnings.expected.add("disk")
    monkeypatch.setattr(three.outbox.upkeep, "after_settling", lambda: None)
    three.outbox.disk.refused(StoreRefused("disk full"))
    log(three, SEVEN)
    drain(three)
    assert own(three) == [SEVEN]


# When a session must stay as it is


def test_a_session_that_a_forked_child_writes_into_too_is_not_left(three):
    mark_shared(three.outbox.path, three.entry.server_id)
    log(three, SEVEN)
    drain(three)
    assert own(three) == [SEVEN]


def test_nor_one_that_this_forked_child_has_from_its_parent(three):
    three.entry.inherited = 1
    log(three, SEVEN)
    drain(three)
    assert own(three) == [SEVEN]


def test_nor_one_whose_state_is_too_large_to_be_known(three):
    three.state(three.entry, big="x" * 300000)
    log(three, SEVEN)
    drain(three)
    assert own(three) == [SEVEN]


def test_on_classic_one_that_session_client_writes_into_is_left_and_counts_anew(make_bench):
    bench = rotating(make_bench, classic=True)
    bench.outbox.update(bench.entry, shared=1)
    log(bench, SEVEN[:4])
    while bench.entry.server_id == "server-1":
        bench.step()
    assert not bench.entry.shared and bench.entry.past[0].shared
    drain(bench)
    assert own(bench) == [["1", "2", "3"], ["4"]]


def test_one_that_cannot_be_left_still_gets_several_records_at_once(make_bench):
    bench = rotating(make_bench)
    bench.entry.inherited = 1
    log(bench, SEVEN * 30)
    steps = bench.steps
    drain(bench)
    assert bench.steps - steps < 3 * 30


def test_what_was_known_of_the_old_session_does_not_hold_for_the_next(make_bench):
    bench = rotating(make_bench)
    log(bench, SEVEN[:5])
    bench.step()
    (lane,) = bench.sender._lanes.busy()
    lane.is_unreadable, lane.seen = True, (10**9, 1)
    drain(bench)
    assert not lane.is_unreadable and lane.seen is None


# Sessions of dead processes


def test_what_a_dead_process_left_is_divided_too_and_the_crash_told_to_the_newest(three):
    three.state(three.entry, a=1)
    three.drain()
    three.server.fault = refuse
    log(three, SEVEN)
    heir = three.again(adopts=True, rotate_after=3)
    heir.server.fault = None
    other = heir.session()
    heir.run(130)
    heir.drain()
    ids = [each for each in heir.server.sessions if each != other.server_id]
    there = [heir.server.sessions[each] for each in ids]
    names = [[each["name"] for each in session["events"]] for session in there]
    marks = [[name for name in each if "session_" not in name] for each in names]
    assert marks == [["1", "2", "3"], ["4", "5", "6"], ["7"]]
    assert all(each["ended_at"] and each["state"]["a"] == 1 for each in there)
    assert [ROTATED in each for each in names] == [True, True, False]
    assert ["crash" in " ".join(each) for each in names] == [False, False, True]


def test_the_last_words_of_an_adopted_outbox_do_not_wait_for_the_next_look_around(make_bench):
    heir = prepared(make_bench(adopts=True, rotate_after=3))
    dead = make_bench(server=heir.server, world=heir.world)
    dead.entry = dead.session()
    log(dead, SEVEN[:4])
    old = dead.entry.server_id
    dead.die()
    while ROTATED not in heir.server.names(old):
        assert heir.world.now < 1100 and len(heir.server.sessions) < 4
        heir.world.pass_(min(heir.step() or 0, 1))
        if len(heir.server.sessions) == 3:
            heir.rotated_at = getattr(heir, "rotated_at", heir.world.now)
    assert heir.world.now - heir.rotated_at < 5


def test_one_that_nobody_has_said_the_end_of_is_not_divided_by_another_process(three):
    """A forked child may go on with it, under the id that it knows."""
    three.server.fault = refuse
    log(three, SEVEN)
    heir = three.again(rotate_after=3)
    heir.server.fault = None
    heir.drain()
    assert own(heir) == [SEVEN]


def test_one_that_was_closed_and_not_ended_is_not_divided_by_another_process(three):
    """Its own process may go on with it, under the id that it knows."""
    three.server.fault = refuse
    log(three, SEVEN)
    three.outbox.say_goodbye(three.entry, "closed")
    heir = three.again(adopts=True, rotate_after=3)
    heir.server.fault = None
    heir.drain()
    assert own(heir) == [SEVEN]


# Kills


class Killed(Exception):
    pass


def kill_before(monkeypatch, owner, name):
    def kill(*arguments, **options):
        raise Killed

    monkeypatch.setattr(owner, name, kill)


def kill_after(monkeypatch, owner, name):
    real = getattr(owner, name)

    def kill(*arguments, **options):
        real(*arguments, **options)
        raise Killed

    monkeypatch.setattr(owner, name, kill)


# Where a rotation is killed: a callable (monkeypatch, bench).
STEPS = {
    "opened": lambda patch, bench: kill_before(patch, bench.sender._delivery._acts, "rotated"),
    "past written": lambda patch, bench: kill_after(patch, bench.outbox, "add_session"),
    "handed over": lambda patch, bench: kill_after(patch, bench.outbox.disk, "insert_all"),
    "not synced": lambda patch, bench: kill_before(
        patch, bench.outbox.upkeep, "sync_before_going_on"
    ),
}


@pytest.mark.parametrize("step", sorted(STEPS))
def test_a_kill_at_any_step_loses_nothing_and_leaves_no_session_open(three, monkeypatch, step):
    three.state(three.entry, a=1)
    log(three, SEVEN[:2])
    drain(three)
    log(three, SEVEN[2:])
    with monkeypatch.context() as patch:
        STEPS[step](patch, three)
        patch.setattr("datacat.sending.sender.ESCAPED", ())
        with pytest.raises(Killed):
            drain(three)
    finish(three, step in ("handed over", "not synced"))


def finish(killed, is_handed_over):
    heir = killed.again(adopts=True)
    heir.run(130)
    heir.drain()
    heir.run(10)
    sessions = list(heir.server.sessions.values())
    assert list(itertools.chain(*own(heir))) == SEVEN
    if is_handed_over:
        assert own(heir) == [SEVEN[:2], SEVEN[2:]]
        assert sessions[1]["state"]["a"] == 1
        assert ROTATED in heir.server.names("server-1")
    else:
        assert own(heir) == [SEVEN, []]
    with_records = [each for each, names in zip(sessions, own(heir)) if names]
    assert all(each["ended_at"] for each in with_records)
    crashed = [each for each in sessions if "crash" in " ".join(heir.server.names(each["id"]))]
    assert [each["id"] for each in crashed] == ["server-2" if is_handed_over else "server-1"]


@pytest.mark.parametrize("skipped", range(5))
@pytest.mark.parametrize("fault", [lose_answer, never_answer])
def test_a_kill_after_any_request_that_follows_a_rotation_makes_no_copy(three, fault, skipped):
    """The state, the last words and the records of the next session, whether applied or not."""
    three.state(three.entry, a=1)
    log(three, SEVEN[:2])
    drain(three)
    log(three, SEVEN[2:5])
    while three.entry.server_id == "server-1":
        three.step()
    for _ in range(skipped):
        three.step()
    three.server.next_faults = [fault]
    three.step()
    three.server.next_faults = []
    heir = three.again(adopts=True)
    # A session of its own shows it that the server is there.
    heir.session()
    heir.run(130)
    heir.drain()
    assert own(heir) == [SEVEN[:2], SEVEN[2:5], []]
    ids = list(heir.server.sessions)[:2]
    assert all(heir.server.sessions[each]["ended_at"] for each in ids)
    assert heir.server.names("server-1").count(ROTATED) == 1
