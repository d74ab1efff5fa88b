"""Promises of the sender's steps: one thing at a time, in order, whatever goes wrong."""

from __future__ import absolute_import, division

from tools.sending import NAMES, is_event, log, name_of

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
    bench.sender.server.recognise_by(first)
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


def test_a_lack_of_memory_is_not_our_bug_and_soon_tried_again(bench):
    """Quiet: nobody is asked to report it, and what waits is delivered once there is memory."""

    def raise_memory_error(server, request):
        raise MemoryError()

    bench.server.concerned = is_event
    bench.server.next_faults = [raise_memory_error]
    bench.event(bench.entry, "one")
    began = bench.world.now
    bench.drain()
    assert bench.server.struck == 1 and bench.server.names() == ["one"]
    assert bench.world.now - began < 10


def test_a_disk_that_does_not_give_a_record_is_not_asked_again_and_again(v1, monkeypatch):
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
    v1.warnings.expected.add("fault")
    really = v1.outbox.settle

    def broken(entry, record, *state):
        if entry is v1.entry:
            raise RuntimeError("unforeseen")
        return really(entry, record, *state)

    monkeypatch.setattr(v1.outbox, "settle", broken)
    log(v1)
    v1.event(other, "good")
    v1.run(10)
    assert v1.server.names(other.server_id) == ["good"]
    (report,) = v1.warnings.about("fault")
    assert "unforeseen" in report


def test_constants_are_the_designs():
    assert (backoff.QUIET_PERIOD, lanes.REOPEN_SECONDS, verdicts.READ_BACK_SECONDS) == (
        2,
        600,
        60,
    )
