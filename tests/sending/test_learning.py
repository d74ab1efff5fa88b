"""Promises about what is known of a server from earlier runs and other processes."""

from __future__ import absolute_import, division

import contextlib
import json

import pytest
from tools.memory_server import lose_answer, refuse, say
from tools.sending import CLEAN, Bench, counts, log

from datacat import errors
from datacat.outbox.names import learned_of

MANY = ["e%03d" % number for number in range(200)]
WEEK = 7 * 86400


@contextlib.contextmanager
def windows_of(bench):
    """Give a list, to which the length of each window is added, without what reads a session."""
    windows, call_all = [], bench.server.call_all
    bench.server.call_all = lambda requests, **options: (
        windows.append(
            sum("/api/sessions/" not in each.path or each.method == "POST" for each in requests)
        ),
        call_all(requests, **options),
    )[1]
    yield windows
    del bench.server.call_all


def widest(bench):
    """Return how many records the first window has from now on."""
    with windows_of(bench) as windows:
        log(bench, MANY)
        bench.drain()
    return [width for width in windows if width > 1][:1]


def next_run(bench, **options):
    """Return the bench of a new process, with an open session."""
    successor = bench.again(**options)
    successor.entry = successor.session()
    return successor


def test_the_order_is_checked_in_the_first_run_only(bench):
    bench.server.windows = True
    assert widest(bench) == [4]
    successor = next_run(bench)
    before = len(successor.reads())
    assert widest(successor) == [8]
    assert len(successor.reads()) == before
    successor.world.pass_(WEEK)
    assert widest(next_run(successor)) == [4]


def test_a_server_that_mixes_requests_up_gets_no_window_in_the_next_run_either(v1):
    v1.server.windows = True

    def call_all(requests, **_):
        return [v1.server.call(request) for request in reversed(requests)][::-1], None

    v1.server.call_all = call_all
    log(v1, MANY)
    v1.drain()
    del v1.server.call_all
    assert v1.warnings.about("order")
    assert widest(next_run(v1)) == []


def test_one_processs_retry_after_holds_for_the_others_of_the_machine(bench):
    other = Bench(bench.folder, server=bench.server, world=bench.world)
    other.entry = other.session()
    bench.server.fault = say(503, "busy", Retry_After=600)
    log(bench, ["one"])
    bench.run(3)
    bench.server.fault = None
    del bench.server.calls[:]
    log(other, ["two"])
    other.run(550)
    other.sender.hurry()
    other.run(20)
    assert not bench.server.calls
    other.drain(300)
    bench.drain(300)


def test_a_run_that_begins_later_tries_by_itself(bench):
    """What an earlier one was told may be absurd, or over."""
    bench.server.fault = say(503, "busy", Retry_After=10**9)
    log(bench, ["one"])
    bench.run(3)
    bench.server.fault = None
    bench.again().drain(10)
    assert bench.server.names() == ["one"]


def test_a_pause_that_no_server_can_ask_for_is_not_heeded(bench):
    """The clock was set back."""
    other = Bench(bench.folder, server=bench.server, world=bench.world)
    other.entry = other.session()
    bench.server.fault = say(503, "busy", Retry_After=600)
    log(bench, ["one"])
    bench.run(3)
    bench.server.fault = None
    bench.world.set_wall(bench.world.wall() - 30000)
    log(other, ["two"])
    other.drain(10)
    assert other.entry.sent == 2 and not other.link.failures


@pytest.mark.parametrize("value", [u"much", [1], {"a": 1}, -1, 0, True, None, float("nan")])
def test_values_of_a_wrong_kind_are_not_believed(bench, value):
    """Somebody wrote into the file."""
    bench.server.windows = True
    successor = bench.again()
    when = successor.world.wall()
    with open(learned_of(successor.outbox.path), "wb") as stream:
        names = ["order", "windows in order", "rate", "reading rate", "generation", "busy until"]
        found = dict((name, [value, when]) for name in names)
        stream.write(json.dumps(found).encode("ascii"))
    successor.employ()
    successor.entry = successor.session()
    log(successor, MANY)
    successor.drain(60)
    assert successor.server.names(successor.entry.server_id) == MANY
    assert counts(successor.entry) == CLEAN


# The first open


@pytest.fixture
def fresh(make_bench):
    """A bench that has asked its server nothing yet."""
    bench = make_bench()
    bench.server.windows = True
    return bench


def paths(bench):
    return [request.path for request in bench.server.calls]


def test_health_and_open_share_a_round_trip(fresh):
    with windows_of(fresh) as windows:
        fresh.session()
    assert paths(fresh)[:2] == ["/health", "/api/sessions"]
    assert windows == [2]
    assert fresh.link.online and len(fresh.server.sessions) == 1


def test_where_that_is_impossible_they_go_one_by_one(fresh):
    """Such as through a forward proxy."""
    fresh.server.windows = False
    fresh.session()
    assert paths(fresh)[:2] == ["/health", "/api/sessions"]


def test_with_window_1_they_go_one_by_one(make_bench):
    bench = make_bench(window=1)
    bench.server.windows = True
    bench.server.call_all = None
    bench.session()
    assert paths(bench)[:2] == ["/health", "/api/sessions"]


def test_an_open_that_had_no_effect_is_sent_again(fresh):
    """The server closed the connection with its first answer."""
    call_all = fresh.server.call_all
    fresh.server.call_all = lambda requests, **_: (call_all(requests[:1])[0], None)
    fresh.session()
    assert len(fresh.server.sessions) == 1 and fresh.link.failures == 0


def test_after_a_failure_the_open_waits_for_the_answer_to_the_question(fresh):
    """Each open whose answer gets lost leaves a session behind."""
    fresh.server.next_faults = [lose_answer]
    entry = fresh.session(opened=False)
    fresh.server.fault = lose_answer
    fresh.run(60)
    assert len(fresh.server.sessions) <= 1
    assert paths(fresh).count("/api/sessions") <= 1
    fresh.server.fault = None
    fresh.drain()
    assert entry.server_id


@pytest.mark.parametrize("fault", [refuse, say(503, "busy"), say(200, "<p>", "text/html")])
def test_an_open_that_fails_behind_the_question_is_sent_later(fresh, fault):
    fresh.server.concerned = lambda request: request.path == "/api/sessions"
    fresh.server.next_faults = [fault]
    entry = fresh.session(opened=False)
    fresh.drain(200)
    assert entry.server_id and len(fresh.server.sessions) == 1


def test_a_server_that_refuses_the_session_is_heard(fresh):
    fresh.server.concerned = lambda request: request.path == "/api/sessions"
    fresh.server.fault = say(400, "Product and version are required fields\n")
    entry = fresh.session(opened=False)
    fresh.run(1)
    assert isinstance(entry.refusal, errors.RequestRefused)


def test_a_server_known_as_classic_is_not_asked_for_a_session_to_show_it(make_bench):
    bench = make_bench(classic=True)
    bench.entry = bench.session()
    log(bench, ["one"])
    bench.drain()
    assert len(bench.reads()) == 1
    successor = next_run(bench)
    log(successor, ["two"])
    successor.drain()
    assert len(successor.reads()) == 1
    assert successor.sender.server.dialect.name == "classic"


def test_a_server_known_as_classic_that_is_v1_by_now_is_recognised(make_bench):
    bench = make_bench(classic=True)
    bench.session()
    bench.run(1)
    bench.server.classic = False
    successor = next_run(bench)
    assert successor.sender.server.is_v1


# Short runs


def exchanges_of_a_short_run(bench):
    """Return how many round trips it takes to open a session, log five events and end."""
    count = [0]
    call, call_all = bench.server.call, bench.server.call_all

    def one(request, **options):
        count[0] += 1
        return call(request, **options)

    def many(requests, **options):
        bench.server.call, made = call, count[0] + 1
        try:
            return call_all(requests, **options)
        finally:
            bench.server.call, count[0] = one, made

    bench.server.call, bench.server.call_all = one, many
    entry = bench.session(opened=False)
    log_and_end(bench, entry)
    bench.drain()
    bench.server.call, bench.server.call_all = call, call_all
    return count[0]


def log_and_end(bench, entry):
    """Log what a short run does."""
    for number in range(5):
        bench.event(entry, "e%d" % number)
    bench.end(entry)


@pytest.mark.parametrize("classic, first, later", [(False, 3, 2), (True, 4, 2)])
def test_a_short_run_takes_few_round_trips(make_bench, classic, first, later):
    bench = make_bench(classic=classic)
    bench.server.windows = True
    assert exchanges_of_a_short_run(bench) == first
    for _ in range(3):
        bench.entry = bench.session()
        log(bench, MANY)
        bench.drain()
    successor = bench.again()
    successor.server.windows = True
    assert exchanges_of_a_short_run(successor) == later


def short_run(bench):
    """Let a new process log five events in a session; return (its bench, its windows)."""
    successor = bench.again()
    successor.server.windows = True
    entry = successor.session()
    with windows_of(successor) as windows:
        log_and_end(successor, entry)
        successor.drain()
    return successor, windows


def test_short_runs_prove_the_order_together(bench):
    """Each has one window only that shows it; the session is read behind that."""
    for _ in range(3):
        bench, windows = short_run(bench)
        assert windows == [4, 2]
    bench, windows = short_run(bench)
    assert windows == [6]
    assert not bench.warnings.about("order")


def test_a_server_that_mixes_requests_up_is_found_out_by_its_first_window(v1):
    v1.server.windows = True

    def call_all(requests, **_):
        answered = dict((id(each), v1.server.call(each)) for each in reversed(requests[:-1]))
        return [answered[id(each)] for each in requests[:-1]] + [
            v1.server.call(requests[-1])
        ], None

    v1.server.call_all = call_all
    log(v1, MANY[:8])
    v1.drain()
    assert v1.warnings.about("order")
    assert v1.server.names()[:4] == MANY[:4][::-1] and v1.server.names()[4:] == MANY[4:8]


def test_a_reading_that_came_too_early_shows_nothing_and_later_ones_do(bench):
    """Something on the way handled it beside the records."""
    bench.server.windows = True
    call_all, early = bench.server.call_all, []

    def reads_first(requests, **options):
        if requests[-1].method != "GET":
            return call_all(requests, **options)
        early.append(bench.server.call(requests[-1]))
        responses, error = call_all(requests[:-1], **options)
        return responses + [early[-1]], error

    bench.server.call_all = reads_first
    with windows_of(bench) as windows:
        log(bench, MANY)
        bench.drain()
    assert len(early) == 3 and windows[:4] == [4, 4, 4, 8]
    assert not bench.warnings.about("order")
