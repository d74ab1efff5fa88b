"""Promises of the read-back: what arrived is not sent twice, what did not is sent again."""

from __future__ import absolute_import, division

import pytest
from tools.memory_server import apply_late, lose_answer, never_answer, portal, refuse, say
from tools.sending import (
    CLEAN,
    HTML,
    NAMES,
    OPENING,
    Bench,
    counts,
    is_any,
    is_event,
    is_read,
    is_write,
    log,
    prepared,
)

from datacat.outbox.shared import mark_shared

AMBIGUOUS = [
    lose_answer,
    say(500, "oops\n", applied=True),
    say(502, "<html>", HTML, applied=True),
    say(504, "", HTML, applied=True),
    say(599, "", applied=True),
    say(204, "", applied=True),
    say(200, "<html>", HTML, applied=True),
]


@pytest.mark.parametrize("fault", AMBIGUOUS)
def test_a_record_whose_answer_was_lost_is_not_sent_again(bench, fault):
    bench.server.concerned = is_write
    for name in NAMES:
        bench.server.next_faults.append(fault)
        bench.event(bench.entry, name)
        bench.server.next_faults.append(fault)
        bench.metric(bench.entry, name)
        bench.server.next_faults.append(fault)
        bench.state(bench.entry, **{name: {"at": bench.steps}})
    bench.drain()
    assert bench.server.struck == 9
    assert bench.server.names() == NAMES
    assert [metric["name"] for metric in bench.server.only_session()["metrics"]] == NAMES
    assert set(NAMES) <= set(bench.server.only_session()["state"])
    if not bench.server.classic:
        assert len(bench.server.only_session()["state_history"]) == 3
    assert counts(bench.entry) == CLEAN


@pytest.mark.parametrize(
    "fault",
    [
        never_answer,
        say(500, "oops\n"),
        say(502, "<html>", HTML),
        say(504, "", HTML),
        say(200, "<html>", HTML),
        say(204, ""),
    ],
)
def test_a_record_that_did_not_arrive_is_sent_again_after_two_read_backs_with_quiet_between(
    bench, fault
):
    bench.run(1)
    bench.server.concerned = is_write
    bench.server.next_faults = [fault]
    log(bench)
    read_backs = []

    def watching(request):
        if is_read(request):
            read_backs.append(bench.world.now)
        return is_write(request)

    bench.server.concerned = watching
    bench.drain()
    assert bench.server.struck == 1
    assert bench.server.names() == NAMES and counts(bench.entry) == CLEAN
    # Classic is asked for its dialect once more where a portal may have stood between.
    assert read_backs[-1] - read_backs[-2] == pytest.approx(2.0, abs=0.01)


def test_the_quiet_period_begins_after_the_first_read_back_however_long_that_took(classic):
    def slow(server, request):
        server.world.pass_(20)
        return server.answer(request)

    classic.server.next_faults = [never_answer, slow]
    log(classic)
    while classic.server.next_faults:
        classic.world.pass_(classic.step())
    assert classic.step() == pytest.approx(2.0, abs=0.01)


def test_a_request_that_is_applied_late_is_found_by_the_second_read_back(bench):
    bench.run(1)
    bench.server.next_faults = [apply_late(1.5)]
    log(bench)
    bench.drain()
    assert bench.server.names() == NAMES and counts(bench.entry) == CLEAN


def test_a_session_that_is_read_back_does_not_delay_others(make_bench):
    bench = make_bench(chance=lambda: 1.0)
    first, second = bench.session(), bench.session()
    bench.run(1)
    bench.event(first, "doubtful")
    bench.server.next_faults = [say(500, "oops")]
    bench.step()
    bench.event(second, "other")
    bench.run(1.0)
    assert bench.server.names(second.server_id) == ["other"]
    assert bench.server.names(first.server_id) == []
    bench.drain()
    assert bench.server.names(first.server_id) == ["doubtful"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("our bug")])
def test_a_record_whose_exchange_raised_something_unexpected_is_not_sent_twice(bench, error):
    """Once: the server may have the record, so it is read back first."""

    def applied_then_raised(server, request):
        server.answer(request)
        raise error

    bench.warnings.expected.add("bug: RuntimeError: our bug")
    bench.server.concerned = is_event
    bench.server.next_faults = [applied_then_raised]
    bench.event(bench.entry, "one")
    bench.event(bench.entry, "two")
    bench.drain()
    assert bench.server.struck == 1
    assert bench.server.names() == ["one", "two"]
    assert counts(bench.entry) == CLEAN


# -- read-backs that fail, or cannot tell


def test_with_another_writer_in_a_classic_session_a_record_is_sent_again_and_counted(classic):
    classic.run(1)
    classic.entry.shared = 1
    classic.server.concerned = is_write
    classic.server.next_faults = [lose_answer]
    log(classic)
    classic.drain()
    assert classic.server.names() == ["one"] + NAMES
    assert counts(classic.entry) == (0, 0, 0, 0, 1)


def a_child_writes(bench, name):
    """Have a forked child write an event into the bench's session, after its mark."""
    (server_id,) = bench.server.sessions
    mark_shared(bench.outbox.path, server_id)
    bench.server.only_session()["events"].append({"name": name, "data": {}})


def test_a_childs_equal_event_in_a_classic_session_is_not_taken_for_ours(classic):
    """Once: ours never arrived, and only the mark beside the outbox shows that."""
    a_child_writes(classic, "one")
    classic.server.concerned = is_write
    classic.server.next_faults = [never_answer]
    log(classic)
    classic.drain()
    assert classic.server.names() == ["one"] + NAMES
    assert classic.entry.possibly_twice == 1 and classic.entry.shared


def test_a_marked_session_is_not_judged_by_counting(classic):
    """The mark is looked for after the answer, because the child may write just before it."""

    def child_first(server, request):
        a_child_writes(classic, "one")
        return server.answer(request)

    classic.run(1)
    classic.server.next_faults = [never_answer, child_first]
    log(classic)
    classic.drain()
    assert classic.server.names() == ["one"] + NAMES
    assert classic.entry.possibly_twice == 1


def test_after_a_kill_the_next_run_still_knows_that_a_child_wrote(classic):
    """It may outlive its parent, whose outbox has another owner by then."""
    log(classic)
    successor = classic.again()
    assert successor.outbox.path == classic.outbox.path
    a_child_writes(successor, "one")
    successor.drain()
    assert successor.server.names() == ["one"] + NAMES
    assert successor.outbox.find(classic.entry.local_id).possibly_twice == 1
    successor.die()


def test_new_sessions_in_a_marked_outbox_are_judged_by_counting(classic):
    """A child of an earlier run has marked only the one that it knows."""
    log(classic)
    a_child_writes(classic, "one")
    successor = classic.again()
    assert successor.outbox.path == classic.outbox.path
    entry = successor.session()
    assert successor.server.names(classic.entry.server_id) == ["one"] + NAMES
    successor.server.concerned = is_write
    successor.server.next_faults = [lose_answer]
    for name in NAMES:
        successor.event(entry, name)
    successor.drain()
    assert successor.server.names(entry.server_id) == NAMES and counts(entry) == CLEAN
    assert successor.server.struck == 1
    successor.die()


def test_a_child_that_writes_no_records_changes_nothing(classic):
    """Not every fork makes copies: without a mark, what arrived is recognised."""
    classic.server.concerned = is_write
    classic.server.next_faults = [lose_answer]
    log(classic)
    classic.drain()
    assert classic.server.names() == NAMES and counts(classic.entry) == CLEAN


def test_a_childs_mark_does_not_matter_on_v1(v1):
    mark_shared(v1.outbox.path, v1.entry.server_id)
    v1.server.concerned = is_write
    v1.server.next_faults = [lose_answer]
    log(v1)
    v1.drain()
    assert v1.server.names() == NAMES and counts(v1.entry) == CLEAN


def test_another_writer_does_not_matter_on_v1(v1):
    v1.entry.shared = 1
    v1.server.concerned = is_write
    v1.server.next_faults = [lose_answer]
    log(v1)
    v1.drain()
    assert v1.server.names() == NAMES and counts(v1.entry) == CLEAN


def test_an_unknown_writers_record_is_not_taken_for_ours(classic):
    classic.server.only_session()["events"].append({"name": "foreign", "data": {}})
    classic.server.concerned = is_write
    classic.server.next_faults = [never_answer]
    log(classic)
    classic.drain()
    assert classic.server.names() == ["foreign"] + NAMES
    assert classic.entry.possibly_twice == 1


def test_a_shared_sessions_record_is_not_sent_again_before_the_server_answers_something(classic):
    classic.run(1)
    classic.entry.shared = 1
    classic.server.fault = never_answer
    log(classic, ["one"])
    classic.run(300)
    assert len(classic.server.sent_to("/events")) == 1
    classic.server.fault = None
    classic.drain()
    assert classic.server.names() == ["one"] and classic.entry.possibly_twice == 1


@pytest.mark.parametrize("classic", [False, True])
@pytest.mark.parametrize("failing, within", [(say(500, "too large"), 3), (never_answer, 15)])
def test_after_three_failed_read_backs_a_record_is_sent_again_and_counted(
    make_bench, classic, failing, within
):
    bench = prepared(make_bench(classic=classic, chance=lambda: 0.999))
    bench.run(1)
    bench.server.timeout = 1.0
    bench.server.concerned = is_write
    bench.server.next_faults = [lose_answer]
    log(bench, ["one"])
    bench.step()
    bench.server.concerned, bench.server.fault = is_read, failing
    bench.drain(within=within)
    assert bench.server.struck >= 4
    assert bench.server.names() == ["one", "one"] and bench.entry.possibly_twice == 1


def test_a_network_that_loses_three_read_backs_within_moments_makes_no_copy(bench):
    """They follow each other within a second: three may meet the same bad moment."""
    bench.run(1)
    bench.server.timeout = 0.5
    bench.server.concerned = lambda request: is_read(request) or is_write(request)
    bench.server.next_faults = [lose_answer] + [never_answer] * 3
    log(bench, ["one"])
    bench.drain()
    assert bench.server.struck == 4
    assert bench.server.names() == ["one"] and counts(bench.entry) == CLEAN


def test_after_a_minute_of_failing_read_backs_a_record_is_sent_again_and_counted(make_bench):
    bench = make_bench(chance=lambda: 0.999)
    bench.entry = bench.session()
    bench.run(1)
    bench.server.timeout = 65.0
    bench.server.concerned = lambda request: is_read(request) or is_write(request)
    bench.server.next_faults = [lose_answer] + [never_answer] * 2
    log(bench, ["one"])
    bench.drain(within=200)
    assert bench.server.struck == 3
    assert bench.server.names() == ["one", "one"] and bench.entry.possibly_twice == 1


def test_a_record_of_a_session_too_large_to_read_is_sent_again_and_counted_once_it_is_quiet(
    bench, monkeypatch
):
    monkeypatch.setattr("datacat.sending.looks.CLASSIC_READ_BACK_BYTES", 2000)
    monkeypatch.setattr("datacat.sending.looks.V1_READ_BACK_BYTES", 2000)
    log(bench, ["x" * 100] * 50)
    bench.drain()
    bench.server.concerned = is_write
    bench.server.next_faults = [never_answer]
    log(bench, ["last"])
    bench.server.streamed = 0
    bench.drain()
    assert bench.server.streamed < 2000 + 2 * 4096
    assert bench.server.names()[50:] == ["last"] and bench.entry.possibly_twice == 1


def test_failed_read_backs_do_not_count_while_the_server_does_not_answer(bench):
    """A portal or a dead server is no reason to send something twice."""
    bench.server.concerned = is_write
    bench.server.next_faults = [lose_answer]
    log(bench)
    bench.step()
    for fault in (
        refuse,
        portal,
        say(502, "<html>", HTML),
        say(302, ""),
        say(401, "Unauthorized"),
        say(503, "busy"),
    ):
        bench.server.concerned, bench.server.fault = is_any, fault
        bench.run(400)
    assert counts(bench.entry)[1:] == CLEAN[1:]
    bench.server.fault = None
    bench.drain()
    assert bench.server.names() == NAMES and counts(bench.entry) == CLEAN


def test_a_portals_page_is_never_taken_for_a_session_without_the_record(v1):
    """An HTML page in answer to the GET must not cause a copy."""
    v1.run(1)
    v1.server.next_faults = [lose_answer] + [portal] * 20
    v1.server.concerned = lambda request: request.method == "GET" or is_write(request)
    log(v1, ["one"])
    v1.drain(within=600)
    assert v1.server.names() == ["one"] and counts(v1.entry) == CLEAN


# -- outboxes that were taken over


@pytest.mark.parametrize("arrived", [True, False])
def test_the_oldest_record_of_a_dead_process_is_read_back_before_it_is_sent(bench, arrived):
    log(bench)
    if arrived:
        head = bench.outbox.head(bench.entry)
        bench.server.call(bench.sender.server.dialect.send(head, bench.entry.server_id, False))
    successor = bench.again()
    successor.drain()
    assert successor.server.names() == NAMES
    assert successor.outbox.find(bench.entry.local_id) is None or (
        counts(successor.outbox.find(bench.entry.local_id)) == CLEAN
    )
    successor.die()


def test_a_process_that_closed_in_doubt_reads_back_before_it_sends(bench):
    bench.run(1)
    bench.server.concerned = is_write
    bench.server.next_faults = [lose_answer]
    log(bench)
    bench.step()
    bench.employ()
    bench.drain()
    assert bench.server.names() == NAMES and counts(bench.entry) == CLEAN


def test_what_is_logged_after_reopening_an_outbox_is_not_in_doubt(bench):
    bench.run(1)
    bench.employ()
    log(bench)
    assert bench.drain() < 1.0


def test_a_session_whose_oldest_record_is_unknown_at_first_is_still_read_back(bench, monkeypatch):
    """The disk may refuse to give all heads at once when an outbox is taken over."""
    bench.run(1)
    bench.server.concerned = is_write
    bench.server.next_faults = [lose_answer]
    log(bench)
    bench.step()
    monkeypatch.setattr(bench.outbox, "heads", lambda: [])
    bench.employ()
    bench.drain()
    assert bench.server.names() == NAMES and counts(bench.entry) == CLEAN


# Another process in the session, in the same microsecond


def two_processes(tmp_path, v1, monkeypatch, digits):
    """Return the bench of another process, a forked child, and its entry of v1's session."""
    monkeypatch.setattr("datacat.outbox.writer._drawn", lambda: 7)
    v1.outbox.intake._writer._draw_digits()
    monkeypatch.setattr("datacat.outbox.writer._drawn", lambda: digits)
    other = Bench(str(tmp_path / "other"), server=v1.server, world=v1.world)
    entry = other.outbox.add_session(
        "local-child", OPENING, server_id=v1.entry.server_id, inherited=1, shared=1
    )
    return other, entry


@pytest.mark.parametrize("theirs, digits, twice", [({}, 8, 0), ({"n": 2}, 8, 0), ({"n": 2}, 7, 1)])
def test_two_processes_that_share_a_microsecond_and_a_name_lose_nothing_on_v1(
    v1, tmp_path, monkeypatch, theirs, digits, twice
):
    """Once: 28 of 30,003 records of a parent and two children were taken for each other's."""
    other, entry = two_processes(tmp_path, v1, monkeypatch, digits)
    v1.event(v1.entry, "same")
    other.event(entry, "same", **theirs)
    assert v1.outbox.head(v1.entry).captured == other.outbox.head(entry).captured
    other.drain()
    v1.server.concerned = is_event
    v1.server.next_faults = [never_answer]
    v1.drain()
    assert v1.server.names() == ["same", "same"]
    assert (v1.entry.possibly_twice, v1.entry.waiting) == (twice, 0)
    other.die()
