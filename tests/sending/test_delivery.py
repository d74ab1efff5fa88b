"""Promises of the delivery: what each answer of a server leads to, and when."""

from __future__ import absolute_import, division

import pytest
from tools.memory_server import lose_answer, never_answer, refuse, say
from tools.sending import CLEAN, NAMES, counts, is_write, log

from datacat import errors
from datacat.outbox import tables
from datacat.records import build, kinds
from datacat.sending import decisions

# -- delivered


def test_every_kind_of_record_arrives_in_the_accepted_order(bench):
    bench.event(bench.entry, "one", value=1)
    bench.state(bench.entry, a={"b": 1})
    bench.metric(bench.entry, "load", 0.5)
    bench.append(bench.entry, kinds.EXCEPTION, build.event("exception", {"type": "E"}))
    bench.state(bench.entry, a={"c": 2})
    bench.end(bench.entry)
    bench.drain()
    stored = bench.server.only_session()
    assert bench.server.names() == ["one", "exception"]
    assert stored["metrics"][0]["value"] == 0.5
    assert stored["state"]["a"] == {"b": 1, "c": 2}
    assert stored["ended_at"]
    paths = [request.path.rsplit("/", 1)[1] for request in bench.server.calls if is_write(request)]
    assert paths == ["events", "state", "metrics", "events", "state", "end"]
    assert counts(bench.entry) == CLEAN and bench.entry.sent == 7


# Each kind that is read back, and its fields; the others may be sent twice.
READ_BACK = {
    kinds.EVENT: lambda name: build.event(name),
    kinds.EXCEPTION: lambda name: build.event(name, {"type": "E"}),
    kinds.REPORT: lambda name: dict(build.dropped(1), name=name),
    kinds.METRIC: lambda name: build.metric(name, 1),
    kinds.STATE: lambda name: {name: 1},
}


def test_every_kind_is_read_back_or_may_be_sent_twice():
    repeated = [
        kind for kind in tables.KINDS if decisions.is_repeated(kinds.Record(1, 1, kind, b"{}", 1))
    ]
    # A crash is recognised by the session's mark.
    assert sorted(repeated + list(READ_BACK) + [kinds.CRASH]) == sorted(tables.KINDS)


@pytest.mark.parametrize("kind", sorted(READ_BACK))
def test_a_record_of_any_kind_whose_answer_is_lost_arrives_once(bench, kind):
    bench.server.concerned = is_write
    for name in ("one", "two"):
        bench.server.next_faults.append(lose_answer)
        bench.append(bench.entry, kind, READ_BACK[kind](name))
        bench.drain()
    bench.event(bench.entry, "after")
    bench.drain()
    stored = bench.server.only_session()
    names = bench.server.names() + [metric["name"] for metric in stored["metrics"]]
    names += sorted(set(stored["state"]) & {"one", "two"}, reverse=False)
    assert sorted(names) == ["after", "one", "two"]
    assert len([each for each in bench.server.calls if is_write(each)]) == 3
    assert counts(bench.entry) == CLEAN


def test_a_success_in_the_form_that_some_docs_give_counts_too(v1):
    v1.server.next_faults = [say(201, '{"success":true}', "application/json", applied=True)]
    v1.server.concerned = is_write
    log(v1)
    v1.drain()
    assert v1.server.names() == NAMES and counts(v1.entry) == CLEAN


# -- not applied: later


@pytest.mark.parametrize("error", [errors.NotSent, errors.TlsFailure])
def test_what_was_surely_not_applied_is_sent_later_without_a_read_back(bench, error):
    def fail(server, request):
        raise error("no")

    log(bench)
    bench.server.fault = fail
    bench.run(60)
    assert bench.link.online is False and bench.server.names() == []
    bench.server.fault = None
    assert bench.drain() <= 30.1
    assert bench.server.names() == NAMES and counts(bench.entry) == CLEAN
    assert len(bench.warnings.about("away")) == 1


def test_the_backoff_has_full_jitter_up_to_30_seconds(make_bench):
    bench = make_bench(chance=lambda: 1.0)
    entry = bench.session()
    bench.run(1)
    bench.server.fault = refuse
    bench.event(entry, "one")
    times = []
    for _ in range(10):
        struck = bench.server.struck
        while bench.server.struck == struck:
            bench.world.pass_(bench.step())
        times.append(bench.world.now)
    waits = [after - before for before, after in zip(times, times[1:])]
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30], abs=0.01)


def test_a_pause_begins_when_the_exchange_is_over(v1):
    """However long it took since the step began."""

    def slow_refusal(server, request):
        server.world.pass_(20.0)
        return say(503, "busy", Retry_After=30)(server, request)

    v1.run(1)
    v1.server.next_faults = [slow_refusal]
    log(v1)
    v1.step()
    assert v1.step() == pytest.approx(33.75, abs=0.1)


# -- busy: later, with Retry-After


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_a_busy_server_gets_the_record_later(bench, status):
    bench.server.next_faults = [say(status, "later\n")]
    bench.server.concerned = is_write
    log(bench)
    bench.drain()
    assert bench.server.struck == 1
    assert bench.server.names() == NAMES and counts(bench.entry) == CLEAN


@pytest.mark.parametrize(
    "header, least, most",
    [
        ("20", 20, 25),
        (10**9, 3600, 4500),
        ("-1", 0, 1),
        ("soon", 0, 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600, 4500),
        ("", 0, 1),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 1),
    ],
)
def test_a_retry_after_is_obeyed_up_to_an_hour_and_nonsense_ignored(v1, header, least, most):
    v1.run(1)
    v1.server.next_faults = [say(503, "later\n", Retry_After=header)]
    log(v1)
    begun = v1.world.now
    v1.drain(within=4600)
    assert least <= v1.world.now - begun <= most
    assert v1.server.names() == NAMES


@pytest.mark.parametrize(
    "fault, cut",
    [
        (refuse, True),
        (say(503, "later", Retry_After=300), False),
        (say(500, "later", Retry_After=300), False),
        (say(500, "oops"), True),
    ],
)
def test_hurrying_cuts_a_backoff_short_but_never_a_retry_after(v1, fault, cut):
    v1.run(1)
    v1.server.fault = fault
    log(v1)
    for _ in range(8):
        v1.run(30)
    v1.server.fault = None
    calls = len(v1.server.calls)
    v1.run(0.001)
    assert len(v1.server.calls) == calls
    v1.sender.hurry()
    v1.run(3)
    assert (v1.server.names() == NAMES) is cut


# -- ambiguous, and repeated


def test_an_end_is_repeated_without_a_read_back(v1):
    kind = kinds.END
    v1.run(1)
    v1.append(v1.entry, kind, {})
    v1.server.next_faults = [lose_answer]
    before = len(v1.reads())
    v1.drain()
    assert len(v1.server.sent_to("/" + kind)) == 2
    assert v1.entry.possibly_twice == 0
    # One probe: is a GET of the session answered?
    assert len(v1.reads()) <= before + 1


@pytest.mark.parametrize("fault, sent", [(lose_answer, 1), (never_answer, 2)])
def test_a_crash_is_told_once_however_its_request_ended(bench, fault, sent):
    """A v1 server writes an event for each; a classic one is told by an end."""
    bench.run(1)
    bench.append(bench.entry, kinds.CRASH, {"reason": "r"})
    bench.server.next_faults = [fault]
    bench.drain()
    told = bench.server.sent_to("/crash") + bench.server.sent_to("/end")
    assert len(told) == sent and bench.entry.possibly_twice == 0
    events = bench.server.names(bench.entry.server_id)
    assert events.count("session_crashed_detected") == (not bench.server.classic)


# -- times


def test_sessions_opened_and_ended_offline_log_when(bench):
    other = bench.session(opened=False)
    bench.event(other, "one")
    bench.end(other)
    opened_at = bench.outbox.head(other).captured
    bench.world.pass_(3600)
    bench.drain()
    events = bench.server.sessions[other.server_id]["events"]
    assert [event["name"] for event in events] == [
        "one",
        "session_opened_offline",
        "session_ended_offline",
    ]
    assert events[1]["data"] == {"happened_at": kinds.rfc3339(opened_at)}
    assert bench.server.sessions[other.server_id]["ended_at"]


def test_what_is_opened_and_ended_online_adds_no_event(bench):
    bench.end(bench.entry)
    bench.drain()
    assert bench.server.names() == []


@pytest.mark.parametrize("seconds, late", [(4.9, False), (5.2, True)])
def test_on_classic_a_record_sent_late_carries_when_it_was_captured(classic, seconds, late):
    classic.event(classic.entry, "one", value=1)
    stamp = kinds.rfc3339(classic.outbox.head(classic.entry).captured)
    classic.metric(classic.entry, "m")
    classic.world.pass_(seconds)
    classic.drain()
    data = classic.server.only_session()["events"][0]["data"]
    tags = classic.server.only_session()["metrics"][0]["tags"]
    assert data == ({"value": 1, "_captured_at": stamp} if late else {"value": 1})
    assert bool(tags) is late


def test_late_stamps_can_be_turned_off_and_v1_has_none(make_bench):
    for options in ({"classic": True, "stamp_late": False}, {"classic": False}):
        bench = make_bench(**options)
        entry = bench.session()
        bench.event(entry, "one")
        bench.world.pass_(60)
        bench.drain()
        assert bench.server.only_session()["events"][0]["data"] == {}


@pytest.mark.parametrize("wall", [0.0, 4e9])
def test_a_wall_clock_that_jumps_loses_and_repeats_nothing(bench, wall):
    log(bench)
    bench.world.set_wall(wall)
    log(bench, ["four"])
    bench.server.concerned = is_write
    bench.server.next_faults = [lose_answer, never_answer]
    bench.drain()
    assert [name for name in bench.server.names()] == NAMES + ["four"]
    assert counts(bench.entry) == CLEAN
