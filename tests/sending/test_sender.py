"""Promises of the sender's steps: one thing at a time, in order, whatever goes wrong."""

from __future__ import absolute_import, division

import gc
import sys

import pytest
from tools.sending import NAMES, is_event, log, name_of

from datacat.records import build, kinds
from datacat.sending import lanes
from datacat.wire import backoff, verdicts


def test_a_step_sends_one_record_and_asks_for_the_next_step_at_once(bench):
    log(bench, ["first"])
    bench.drain()
    log(bench)
    before = len(bench.server.sent_to("/events"))
    assert bench.step() == 0.0
    assert len(bench.server.sent_to("/events")) == before + 1


def test_the_sender_rests_when_nothing_waits(bench):
    bench.run(1.0)
    pause = bench.step()
    if bench.server.classic:
        assert pause is None
    else:
        assert 0 < pause <= 15.0  # the next heartbeat


def test_an_open_goes_first_then_the_oldest_record(make_bench):
    bench = make_bench(classic=True)
    first, second = bench.session(), bench.session()
    bench.event(first, "1")
    bench.world.pass_(1)
    bench.event(second, "2")
    bench.world.pass_(1)
    bench.event(first, "3")
    bench.looks.recognise_by(first)
    third = bench.session(opened=False)
    calls = len(bench.server.calls)
    bench.drain()
    assert [
        (request.path, request.path.endswith("events") and name_of(request))
        for request in bench.server.calls[calls:]
    ] == [
        ("/api/sessions", False),
        ("/api/sessions/%s/events" % first.server_id, "1"),
        ("/api/sessions/%s/events" % second.server_id, "2"),
        ("/api/sessions/%s/events" % first.server_id, "3"),
    ]
    assert third.server_id


def test_a_record_that_is_being_appended_as_the_sender_goes_to_rest_is_not_missed(
    bench, monkeypatch
):
    """The thread that appends it may have woken the sender already."""
    bench.run(1.0)
    take_in, appended = bench.outbox.take_in, []

    def append_first():
        if not appended:
            appended.append("one")
            log(bench, appended)
        take_in()

    monkeypatch.setattr(bench.outbox, "take_in", append_first)
    assert bench.sender.step(bench.world.now) == 0.0
    bench.drain()
    assert bench.server.names() == ["one"]


# -- many sessions


def calls_of(bench, steps):
    """Return how many functions are called in so many steps, each of which sends a record.

    Not counted: what garbage collection calls, such as Hypothesis's callbacks and other tests'
    finalizers.
    """
    calls = []

    def profile(frame, event, argument):
        if event == "call":
            calls.append(frame.f_code.co_name)

    gc.disable()
    try:
        for _ in range(steps):
            sys.setprofile(profile)
            pause = bench.sender.step(bench.world.now)
            sys.setprofile(None)
            assert pause == 0.0
            bench.world.pass_(0.001)
    finally:
        gc.enable()
    return len(calls)


def with_sessions(make_bench, count, records):
    """Return a bench whose first three sessions have records waiting, and all others so many."""
    bench = make_bench(classic=True)
    opening = build.encode(build.opening("product", "1"))
    bench.entry = bench.session()
    bench.run(1.0)
    entries = [
        bench.outbox.add_session("many-%d" % number, opening, server_id=bench.entry.server_id)
        for number in range(count)
    ]
    for number, entry in enumerate(entries):
        for _ in range(20 if number < 3 else records):
            bench.event(entry, "one")
    bench.step()
    return bench


@pytest.mark.parametrize("records", [0, 1])
def test_a_step_costs_the_same_with_any_number_of_sessions(make_bench, records):
    """Whether they have records waiting or none."""
    few = calls_of(with_sessions(make_bench, 10, records), 20)
    many = calls_of(with_sessions(make_bench, 300, records), 20)
    assert many <= 1.05 * few


def test_no_record_is_loaded_for_a_session_before_its_turn(make_bench, monkeypatch):
    bench = make_bench(classic=True)
    opening = build.encode(build.opening("product", "1"))
    for number in range(50):
        entry = bench.outbox.add_session("many-%d" % number, opening)
        bench.append(entry, kinds.OPEN, {"number": number})
    asked = []
    head = bench.outbox.head
    monkeypatch.setattr(bench.outbox, "head", lambda entry: asked.append(entry) or head(entry))
    for _ in range(5):
        bench.step()
    assert len(set(asked)) <= 5


# -- trouble


def test_want_of_memory_is_not_reported_as_a_bug_and_soon_retried(bench):
    """Quiet: no bug is reported, and waiting records are delivered once there is memory."""

    def raise_memory_error(server, request):
        raise MemoryError()

    bench.server.concerned = is_event
    bench.server.next_faults = [raise_memory_error]
    bench.event(bench.entry, "one")
    began = bench.world.now
    bench.drain()
    assert bench.server.struck == 1 and bench.server.names() == ["one"]
    assert bench.world.now - began < 10


def test_a_record_that_cannot_be_read_is_not_asked_for_again_and_again(v1, monkeypatch):
    log(v1)
    monkeypatch.setattr(v1.outbox, "head", lambda number: None)
    before = v1.steps
    v1.run(60)
    assert v1.steps - before < 150
    monkeypatch.undo()
    v1.drain()
    assert v1.server.names() == NAMES


def test_a_bug_that_one_session_meets_delays_only_that_one_and_is_reported(v1, monkeypatch):
    other = v1.session()
    v1.warnings.expected.add("bug: RuntimeError: unforeseen")
    really = v1.outbox.settle_all

    def broken(entry, record, *state):
        if entry is v1.entry:
            raise RuntimeError("unforeseen")
        return really(entry, record, *state)

    monkeypatch.setattr(v1.outbox, "settle_all", broken)
    log(v1)
    v1.event(other, "good")
    v1.run(10)
    assert v1.server.names(other.server_id) == ["good"]
    (report,) = v1.warnings.about("bug: RuntimeError: unforeseen")
    assert "unforeseen" in report


def test_the_constants_are_those_of_the_design():
    assert (backoff.QUIET_PERIOD, lanes.REOPEN_SECONDS, verdicts.READ_BACK_SECONDS) == (
        2,
        600,
        60,
    )


def test_a_logging_handler_that_exits_in_the_middle_makes_no_copy(bench):
    """It calls sys.exit() in the sender's thread, when the server has the record already."""

    def exit_after_it_arrived(server, request):
        server.answer(request)
        raise SystemExit()

    bench.warnings.expected.add("fault")
    bench.server.concerned = is_event
    bench.server.next_faults = [exit_after_it_arrived]
    bench.event(bench.entry, "one")
    bench.drain()
    assert bench.server.struck == 1 and bench.server.names() == ["one"]
