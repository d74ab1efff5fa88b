"""Network (24, 25): wrong and busy servers delay records, and do nothing else."""

from __future__ import absolute_import, division

import math
import time
import zlib
from email.utils import formatdate

import pytest
from tools.faults import Answer, Fault, busy, captive_portal, every, html_filter, redirect
from tools.waiting import wait_until

from datacat._compat import monotonic
from datacat.sending.width import NARROW

PLAIN = [("Content-Type", "text/plain")]
JSON = [("Content-Type", "application/json")]
PAGES = [
    captive_portal(),
    redirect("http://127.0.0.1:1/login").named("redirect 302"),
    redirect("http://127.0.0.1:1/elsewhere", status=308).named("redirect 308"),
    Answer(204).named("no content"),
    html_filter(400).named("filter 400"),
    html_filter(403).named("filter 403"),
    Answer(404, b"404 page not found\n", PLAIN).named("static 404"),
    html_filter(405).named("static 405"),
    html_filter(407).named("proxy 407"),
    html_filter(451).named("filter 451"),
    html_filter(501).named("static 501"),
    Answer(200, b'{"hello":"world"}', JSON).named("another service"),
]
RECORDS = 12


def pytest_generate_tests(metafunc):
    """Test both statuses of a busy server in the long form, one in the short form."""
    if "status" in metafunc.fixturenames:
        one = zlib.crc32(metafunc.function.__name__.encode("ascii")) % 2
        both = metafunc.config.getoption("--long", default=False)
        metafunc.parametrize("status", [429, 503] if both else [429, 503][one : one + 1])


def is_post(request):
    return request.method == "POST"


def is_event(request):
    return request.path.endswith("/events")


def run_before_page(trial, proxy, page, passed):
    """Run the application while `page` answers all requests after the first `passed`."""
    first = len(proxy.log) + passed
    proxy.rule(page, lambda seen: seen.number > first)
    application = trial.start(RECORDS, farewell="close", patience=0.3, connect_wait=2.0)
    application.wait_for_accepted(RECORDS)
    wait_until(lambda: trial.warnings())
    (stats,) = trial.leave(patience=0.3)
    assert proxy.struck[page.name] >= 1
    assert stats["waiting"] and not stats["dead"], (page.name, stats)
    (warning,) = trial.warnings()
    for words in (warning, stats["last_error"]):
        assert "status %d" % page.status in words
    proxy.clear()


@pytest.mark.parametrize("passed", [0, 6], ids=["from the start", "in the middle"])
def test_a_wrong_server_makes_no_dead_letter_and_raises_nothing(trial, proxy, scaled, passed):
    """Kept: everything waits, and arrives when the server is back."""
    pages = PAGES if scaled(not passed, True) else PAGES[::4]
    for page in pages:
        run_before_page(trial, proxy, page, passed)
    trial.start(RECORDS)
    trial.await_arrived()
    trial.leave()
    trial.check()
    trial.check_no_losses()


def test_a_busy_server_with_a_useless_retry_after_is_tried_again(trial, proxy, status):
    """Kept: a Retry-After of -1, garbage or a date in the past is ignored."""
    values = ["-1", "soon", formatdate(0, usegmt=True), "Wed, 99 Foo 2026", "1e3", ""]
    for first, value in enumerate(values, 1):
        # Each strikes another record, so that their backoffs do not add up.
        turn = every(3 * len(values), 3 * first)
        proxy.rule(
            busy(value, status), lambda seen, turn=turn: is_event(seen) and turn(seen), times=1
        )
    trial.start(60)
    trial.await_drained()
    trial.leave()
    assert proxy.struck["busy"] == len(values)
    trial.check()
    trial.check_no_losses()


@pytest.mark.parametrize("generation", ["classic"])
def test_a_server_that_stays_busy_is_tried_less_and_less_often(trial, proxy):
    """Never in the way: also while the server answers other requests."""
    proxy.rule(busy(status=429), is_event)
    trial.start(10)
    wait_until(lambda: proxy.struck["busy"] >= 3)
    began = [seen.at for seen in proxy.log if is_event(seen)][0]
    time.sleep(2.0)
    attempts = proxy.struck["busy"]
    # 0.25 s on average before the second attempt, twice as long before each further one: after
    # the fifth it takes more than a second for each, however long this test had to wait.
    assert attempts <= 6 + (monotonic() - began)
    proxy.clear()
    trial.await_drained()
    trial.leave()
    trial.check()
    trial.check_no_losses()


class BusyUntil(Fault):
    """Busy until some seconds after the request, by a date; `until`: in monotonic seconds."""

    name = "busy until"

    def __init__(self, seconds, status):
        self._seconds = seconds
        self._status = status
        self.until = None

    def play(self, exchange):
        to_monotonic = monotonic() - time.time()
        until = math.ceil(time.time() + self._seconds)
        self.until = until + to_monotonic
        return busy(formatdate(until, usegmt=True), self._status).named(self.name).play(exchange)


def test_a_date_in_retry_after_is_respected(trial, proxy, status):
    """Kept: until the date records wait in the outbox, and nothing is sent."""
    refusal = BusyUntil(2.5, status)
    proxy.rule(refusal, is_post, times=1)
    trial.start(20)
    trial.await_drained()
    trial.leave()
    assert proxy.struck[refusal.name] == 1
    later = [seen.at for seen in proxy.log if is_post(seen)][1]
    # Not exactly: the date is of the wall clock, whose seconds may be adjusted.
    assert later >= refusal.until - 0.3
    trial.check()
    trial.check_no_losses()


def test_a_retry_after_of_30_years_delays_neither_the_application_nor_the_next_run(
    trial, proxy, status
):
    """Kept: for up to an hour and a quarter nothing is sent, not even by flush() or close()."""
    proxy.rule(busy(10**9, status), is_event)
    trial.start(20, patience=0.5)
    trial.said("LOGGED")
    wait_until(lambda: trial.warnings())
    (stats,) = trial.leave(patience=0.5)
    assert stats["waiting"] and not stats["dead"]
    # One window, which is a narrow one.
    assert 1 <= proxy.struck["busy"] <= NARROW and len(trial.warnings()) == 1
    proxy.clear()
    trial.start(5)
    trial.await_arrived()
    trial.leave()
    trial.check()
    trial.check_no_losses()
