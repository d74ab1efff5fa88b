"""Promises about `bandwidth`: bytes a second, counted with heads, and nothing waits for ever."""

from __future__ import absolute_import, division

import random

import pytest
from tools.memory_server import refuse
from tools.sending import log, prepared

from datacat import errors
from datacat.sending.allowance import LEAST_BYTES, SECONDS, Allowance, at_once
from datacat.sending.backlog import cause
from datacat.sending.metering import MeteredTransport
from datacat.sending.pace import HEAD_BYTES, Pace
from datacat.wire import dialects


class Upload(object):
    """What a bench's server got, with the time of each request."""

    def __init__(self, bench):
        self.sent = []
        self._bench = bench
        self._answer = bench.server.call
        bench.server.call = self.call

    def call(self, request, **bounds):
        size = HEAD_BYTES + len(request.body or b"")
        self.sent.append((self._bench.world.now, size))
        return self._answer(request, **bounds)

    def most_over(self, rate):
        """Return by how much any span of time got more than `rate` bytes a second."""
        most, total = 0, 0
        for place, (began, _) in enumerate(self.sent):
            total = 0
            for now, size in self.sent[place:]:
                total += size
                most = max(most, total - rate * (now - began))
        return most


def metered(make_bench, rate, **options):
    bench = prepared(make_bench(bandwidth=rate, **options))
    bench.run(60)
    return bench, Upload(bench)


@pytest.mark.parametrize("windows", [False, True])
def test_no_span_of_time_gets_more_than_the_rate_and_two_buckets(make_bench, windows):
    bench, upload = metered(make_bench, 2000)
    bench.server.windows = windows
    log(bench, ["%d" % number for number in range(100)])
    took = bench.drain(within=1000)
    total = sum(size for _, size in upload.sent)
    assert upload.most_over(2000) <= 2 * 2000 * SECONDS
    # Nor is any of it left unused.
    assert total / 2000 - 3 <= took <= total / 2000


def test_a_record_larger_than_the_bucket_goes_and_is_paid_for_afterwards(make_bench):
    bench, upload = metered(make_bench, 1000)
    # Nothing that can be compressed much.
    text = "%x" % random.Random(1).getrandbits(400000)
    bench.event(bench.entry, "large", text=text)
    log(bench, ["small"])
    assert bench.drain(within=1000) < 120
    (first, size), (second, _) = upload.sent[-2:]
    assert size > 30000 and second - first >= size / 1000 - SECONDS


def test_windows_are_no_larger_than_what_may_go_at_once(make_bench):
    bench, _ = metered(make_bench, 3000)
    bench.server.windows = True
    sizes, call_all = [], bench.server.call_all

    def noted(requests, connects=False):
        sizes.append(sum(HEAD_BYTES + len(request.body or b"") for request in requests))
        return call_all(requests, connects)

    bench.server.call_all = noted
    log(bench, ["%d" % number for number in range(200)])
    bench.drain(within=1000)
    # The read-back that checks the order goes behind one.
    assert 1500 < max(sizes) <= 3000 + HEAD_BYTES


def test_heartbeats_count(make_bench):
    bench = make_bench(bandwidth=50)
    for _ in range(4):
        bench.session()
    bench.run(120)
    upload = Upload(bench)
    bench.run(600)
    assert upload.sent and sum(size for _, size in upload.sent) <= 600 * 50 + LEAST_BYTES
    assert upload.most_over(50) <= LEAST_BYTES + 50


def test_what_never_left_costs_nothing(make_bench):
    bench, _ = metered(make_bench, 100)
    bench.server.fault = refuse
    log(bench)
    bench.run(60)
    bench.server.fault = None
    before = len(bench.server.calls)
    bench.sender.hurry()
    bench.step()
    assert len(bench.server.calls) == before + 1


def test_it_sleeps_while_nothing_may_go(make_bench):
    bench, _ = metered(make_bench, 100)
    log(bench, ["%d" % number for number in range(10)])
    steps = bench.steps
    bench.drain(within=1000)
    assert bench.steps - steps < 60


@pytest.mark.parametrize("rate, bytes_", [(None, 9999), (1, LEAST_BYTES), (5000, 5000)])
def test_what_may_go_at_once(rate, bytes_):
    assert at_once(rate, 9999) == bytes_


def test_the_bucket_never_holds_more_than_its_size():
    bucket = Allowance(100)
    assert bucket.due(10000) < 10000
    bucket.sent(100, 10000)
    assert bucket.due(10000) == 10000
    bucket.sent(100, 10000)
    assert bucket.due(10000) == 10001
    bucket.sent(100, 20000)
    assert bucket.due(10000) == 20000


class Transport(object):
    """Answers what it was made with; an error is raised by `call`."""

    rate = None

    def __init__(self, answer):
        self._answer = answer

    def own_addresses(self):
        return ()

    def call(self, request):
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def call_all(self, requests, connects=False):
        return self._answer


class Counted(list):
    """Takes the place of an Allowance."""

    def sent(self, size, now):
        self.append(size)


ONE = HEAD_BYTES + len(b"{}")


@pytest.mark.parametrize(
    "error, counted",
    [
        (errors.NotSent("refused"), []),
        (errors.TlsFailure("untrusted"), []),
        (errors.CutShort("broke"), [ONE]),
        (errors.OutcomeUnknown("no answer"), [ONE]),
    ],
)
def test_a_failed_call_counts_if_any_of_it_went_out(error, counted):
    found = Counted()
    with pytest.raises(type(error)):
        MeteredTransport(Transport(error), found, lambda: 0.0).call(dialects.V1.heartbeat("1"))
    assert found == counted


@pytest.mark.parametrize(
    "answer, requests",
    [
        (([], None), 0),
        (([], errors.NotSent("refused")), 0),
        ((["answer"], None), 1),
        ((["answer"], errors.OutcomeUnknown("broke")), 3),
    ],
)
def test_of_several_those_count_that_may_have_gone_out(answer, requests):
    found = Counted()
    several = [dialects.V1.heartbeat("1")] * 3
    assert MeteredTransport(Transport(answer), found, lambda: 0.0).call_all(several) == answer
    assert sum(found) == requests * ONE


def test_a_backlog_is_blamed_on_it_where_the_line_carries_more():
    pace = Pace()
    pace.note([1000] * 10, 1.0)
    assert "bandwidth=500" in cause(pace, 10, 64, 500)
    assert "bandwidth" not in cause(pace, 10, 64, 10**6)
