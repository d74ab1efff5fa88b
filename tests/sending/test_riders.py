"""Promises of heartbeats that ride behind records: no round trip of their own, and no trouble."""

from __future__ import absolute_import, division

import pytest
from tools.memory_server import lose_answer, refuse, say
from tools.sending import CLEAN, Bench, counts, is_event, is_write, log, name_of

from datacat import errors, settings
from datacat.wire.transport import Transport

BROKE = errors.OutcomeUnknown("the connection broke")
RTT = 0.1
NAMES = ["e%d" % number for number in range(8)]


def is_heartbeat(request):
    return request.path.endswith("/heartbeat")


class Line(object):
    """A way to a bench's server that takes a round trip for each exchange.

    :ivar exchanges: the lists of requests, in order, that shared a round trip.
    :ivar beats: {path of a session's heartbeat: when it was sent}.
    """

    def __init__(self, bench, rtt=RTT):
        self.exchanges, self.beats = [], {}
        call, call_all = bench.server.call, bench.server.call_all
        under_way = []

        def one(request, **options):
            if not under_way:
                self._note(bench.world, [request], rtt)
            return call(request, **options)

        def several(requests, **options):
            if not bench.server.windows:
                return [], None
            self._note(bench.world, requests, rtt)
            under_way.append(1)
            try:
                return call_all(requests, **options)
            finally:
                under_way.pop()

        bench.server.call, bench.server.call_all = one, several

    def _note(self, world, requests, rtt):
        self.exchanges.append(list(requests))
        for request in filter(is_heartbeat, requests):
            self.beats.setdefault(request.path, []).append(world.now)
        world.pass_(rtt)

    @property
    def kinds(self):
        """How many (records, heartbeats) each exchange has had."""
        return [
            (len([r for r in each if is_write(r)]), len([r for r in each if is_heartbeat(r)]))
            for each in self.exchanges
        ]

    def forget(self):
        del self.exchanges[:]

    def longest_gap(self, until):
        """Return the longest time without a heartbeat, of any session that has had one."""
        return max(
            later - earlier
            for times in self.beats.values()
            for earlier, later in zip(times, times[1:] + [until])
        )


def with_sessions(bench, count):
    """Have the bench's server take windows, and heartbeats of so many sessions be due."""
    bench.server.windows = True
    log(bench, ["warm %d" % number for number in range(200)])
    bench.drain()
    bench.others = [bench.session() for _ in range(count - 1)]
    bench.run(14)
    bench.world.pass_(2)
    del bench.server.calls[:]
    return Line(bench)


def test_heartbeats_that_are_due_ride_behind_the_records_of_a_window(v1):
    line = with_sessions(v1, 30)
    log(v1, NAMES)
    v1.run(12)
    assert line.kinds == [(8, 30)]
    assert [is_heartbeat(request) for request in line.exchanges[0]] == [False] * 8 + [True] * 30
    assert v1.server.names(v1.entry.server_id)[200:] == NAMES and counts(v1.entry) == CLEAN


def test_they_ride_behind_a_single_record_too(v1):
    line = with_sessions(v1, 30)
    v1.event(v1.others[7], "one")
    v1.run(12)
    assert line.kinds == [(1, 30)]


def test_an_exchange_has_64_requests_at_most(v1):
    line = with_sessions(v1, 100)
    log(v1, NAMES)
    v1.step()
    v1.event(v1.others[0], "one")
    v1.run(12)
    assert line.kinds == [(8, 56), (1, 44)]


def test_the_bytes_of_an_exchange_are_bound_as_without_heartbeats(v1):
    """The line carries some hundred bytes a second, so that an exchange has about two seconds'."""
    v1.server.windows = True
    for _ in range(49):
        v1.session()
    line = Line(v1, rtt=2.0)
    log(v1, NAMES[:4])
    v1.step()
    v1.world.pass_(15)
    log(v1, ["one"])
    v1.step()
    four, (records, riders) = line.kinds
    assert four == (4, 0) and records == 1
    assert 1 <= riders <= 2 * v1.server.rate / 300


@pytest.mark.parametrize("window", [1, 4])
def test_records_that_leave_no_room_go_first_until_heartbeats_are_45_seconds_apart(
    make_bench, window
):
    """Then heartbeats have every other exchange, so that the server takes no session for dead."""
    bench = make_bench(window=window)
    bench.server.windows = True
    bench.entry = bench.session()
    others = [bench.session() for _ in range(199)]
    line = Line(bench)
    bench.run(20)
    assert len(line.beats) == 200
    line.forget()
    begun = bench.world.now
    while bench.world.now < begun + 120:
        log(bench, NAMES)
        bench.step()
    assert 44 < line.longest_gap(bench.world.now) < 50
    shares = [records > 0 for records, _ in line.kinds]
    assert shares.count(False) < 60
    assert all(first or second for first, second in zip(shares, shares[1:]))
    assert not any(other.waiting for other in others)


def test_a_connection_that_breaks_among_the_riders_is_no_trouble_of_the_records(v1):
    line = with_sessions(v1, 30)
    log(v1, NAMES)
    call_all = v1.server.call_all
    v1.server.call_all = lambda requests: (call_all(requests)[0][:18], BROKE)
    v1.step()
    v1.server.call_all = call_all
    assert counts(v1.entry) == CLEAN
    assert (v1.link.failures, v1.link.online) == (1, True)
    line.forget()
    log(v1, NAMES * 8)
    v1.run(2)
    # Those without an answer are still due; the width is what it was.
    assert line.kinds[0] == (64, 0)
    log(v1, ["one"])
    v1.run(2)
    assert line.kinds[1:] == [(1, 20)]
    assert not [request for request in v1.server.calls if request.method == "GET"]


@pytest.mark.parametrize(
    "answer, failures",
    [(say(404, "session not found\n"), 0), (say(401, "no\n"), 0), (say(503, "busy"), 1)],
    ids=["404", "401", "503"],
)
def test_a_rider_that_is_refused_means_what_it_means_alone(v1, answer, failures):
    with_sessions(v1, 5)
    v1.server.concerned = is_heartbeat
    v1.server.next_faults = [answer]
    log(v1, NAMES)
    v1.step()
    assert v1.link.failures == failures
    assert counts(v1.entry) == CLEAN
    v1.run(2)
    assert len(v1.server.sent_to("/heartbeat")) == 5


def test_a_server_that_is_busy_for_records_and_riders_fails_once(v1):
    with_sessions(v1, 5)
    v1.server.fault = say(503, "busy")
    log(v1, NAMES)
    v1.step()
    assert v1.link.failures == 1


def test_a_server_that_is_busy_for_records_only_is_busy(v1):
    """That it answers heartbeats shows less."""
    with_sessions(v1, 5)
    v1.server.concerned, v1.server.fault = is_event, say(503, "busy")
    log(v1, ["one"])
    for _ in range(4):
        v1.world.pass_(v1.step())
    assert v1.link.failures > 1


def test_a_broken_window_is_looked_up_as_without_riders(v1):
    """The riders of its own session come before the first look, and none between the looks."""
    line = with_sessions(v1, 5)
    log(v1, NAMES)
    v1.server.concerned = lambda request: is_event(request) and name_of(request) == "e3"
    v1.server.next_faults = [lose_answer]
    v1.drain()
    v1.run(30)
    assert v1.server.names(v1.entry.server_id)[200:] == NAMES and counts(v1.entry) == CLEAN
    looks = [place for place, each in enumerate(line.exchanges) if each[0].method == "GET"]
    own = "/api/sessions/%s/heartbeat" % v1.entry.server_id
    between = line.exchanges[looks[0] : looks[-1]]
    assert len(looks) == 2 and own not in [request.path for each in between for request in each]
    assert v1.server.streamed < 2 * 208 * 200
    assert line.beats[own]


def test_a_single_record_with_riders_fails_as_one_that_goes_alone(v1):
    """Windows are as wide afterwards, and it is looked up."""
    with_sessions(v1, 5)
    v1.server.concerned, v1.server.next_faults = is_event, [lose_answer]
    log(v1, ["one"])
    v1.drain()
    assert v1.server.names(v1.entry.server_id)[200:] == ["one"] and counts(v1.entry) == CLEAN
    line = Line(v1, rtt=0)
    v1.world.pass_(1)
    log(v1, NAMES * 8)
    v1.drain()
    assert line.kinds[0] == (64, 0)


def test_riders_count_for_the_rate_and_not_for_the_order(make_bench):
    """What the line carries includes them; single records with riders show no order."""
    bench = make_bench()
    bench.server.windows = True
    bench.entry = bench.session()
    for _ in range(29):
        bench.session()
    bench.world.pass_(16)
    line = Line(bench)
    log(bench, ["one"])
    bench.step()
    assert line.kinds == [(1, 30)]
    bench.world.pass_(16)
    log(bench, NAMES * 4)
    bench.step()
    assert bench.server.rate > 34 * 300 / (RTT + 0.01)
    bench.drain()
    assert line.kinds[1:] == [(4, 30), (4, 0), (4, 0), (8, 0), (12, 0)]


def test_single_records_with_riders_do_not_count_as_windows_that_show_the_order(v1):
    """The records between them are too large to go with others."""
    v1.server.windows = True
    for _ in range(299):
        v1.session()
    v1.world.pass_(16)
    line = Line(v1)
    for _ in range(4):
        log(v1, ["one"])
        v1.event(v1.entry, "large", text="x" * 70000)
    v1.drain()
    assert [records for records, _ in line.kinds] == [1] * 8
    assert [bool(riders) for _, riders in line.kinds] == [True, False] * 4
    line.forget()
    log(v1, NAMES)
    v1.step()
    assert line.kinds[0][0] == 4


def test_that_records_get_through_ends_an_outage_though_riders_are_refused(v1):
    with_sessions(v1, 5)
    v1.server.next_faults = [refuse]
    v1.event(v1.others[0], "one")
    v1.step()
    assert v1.link.failures == 1
    v1.server.concerned, v1.server.fault = is_heartbeat, say(404, "Not found\n")
    v1.drain()
    assert v1.server.struck == 6 and v1.link.failures == 0


def test_a_heartbeat_that_did_not_get_through_rides_behind_the_next_record(v1):
    """For want of records the next one would be 15 seconds later."""
    line = with_sessions(v1, 1)
    v1.server.next_faults = [refuse]
    v1.run(5)
    log(v1, ["one"])
    v1.run(5)
    assert [kinds for kinds in line.kinds if any(kinds)] == [(0, 1), (1, 1)]


def test_no_session_gets_a_heartbeat_before_it_is_15_seconds_old(v1):
    """Sessions whose heartbeats go within five seconds go together the next time."""
    v1.server.windows = True
    line = Line(v1, rtt=0)
    opened = {}
    for _ in range(20):
        entry = v1.session()
        opened["/api/sessions/%s/heartbeat" % entry.server_id] = v1.world.now
        v1.run(0.5)
    v1.run(120)
    for path, begun in opened.items():
        times = line.beats[path]
        assert 14.9 < times[0] - begun < 15.6
        assert all(9.9 < later - earlier < 15.1 for earlier, later in zip(times, times[1:]))
    line.forget()
    v1.run(15)
    assert len(line.exchanges) <= 3


def test_a_session_that_said_goodbye_gets_no_heartbeat(v1):
    line = with_sessions(v1, 5)
    v1.end(v1.others[0])
    log(v1, NAMES)
    v1.run(20)
    own = "/api/sessions/%s/heartbeat" % v1.others[0].server_id
    assert own not in line.beats and len(line.beats) == 4


def test_a_real_server_gets_records_and_heartbeats_in_one_exchange(fresh_collector, tmp_path):
    transport = Transport(settings.resolve(fresh_collector.url, product="p", version="1"), 0)
    exchanges, call_all = [], transport.call_all

    def counted(requests, **options):
        exchanges.append([is_heartbeat(request) for request in requests])
        return call_all(requests, **options)

    transport.call_all, transport.classic = counted, False
    bench = Bench(str(tmp_path / "spool"), server=transport)
    try:
        entries = [bench.session() for _ in range(3)]
        bench.world.pass_(16)
        for name in NAMES[:3]:
            bench.event(entries[1], name)
        bench.step()
        # The last one reads the session, which shows the order.
        assert exchanges[-1] == [False, False, False, True, True, True, False]
        there = [fresh_collector.session(entry.server_id) for entry in entries]
        assert all(each["last_heartbeat"] and not each["suspended"] for each in there)
        assert [event["name"] for event in there[1]["events"]] == NAMES[:3]
        assert entries[1].waiting == 0
    finally:
        bench.die()
        transport.close()
