"""Network (24, 25): what answers in the server's place, or for now, costs nothing but time."""
from __future__ import absolute_import, division

import time
from email.utils import formatdate

import pytest
from tools.faults import Answer, busy, captive_portal, html_filter, redirect

from datacat._compat import monotonic

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


def is_post(request):
    return request.method == "POST"


def run_before_page(trial, proxy, page, passed):
    """Run the application while `page` answers all but its first `passed` requests."""
    first = len(proxy.log) + passed
    proxy.rule(page, lambda seen: seen.number > first)
    application = trial.start(RECORDS, farewell="close", patience=0.3, connect_wait=2.0)
    application.wait_for_accepted(RECORDS)
    struck_by = time.time() + 5
    while not proxy.struck[page.name] and time.time() < struck_by:
        time.sleep(0.02)
    stats, = trial.leave(patience=0.3)
    assert proxy.struck[page.name] >= 1
    assert stats["waiting"] and stats["last_error"], (page.name, stats)
    assert not stats["dead"], page.name
    proxy.clear()


@pytest.mark.parametrize("passed", [0, 6], ids=["from the start", "in the middle"])
def test_what_is_no_datacat_server_makes_no_dead_letter_and_raises_nothing(
        v1_trial, v1_proxy, scaled, passed):
    """Kept: whatever page answers, all waits, and arrives when the server is there again."""
    pages = PAGES if scaled(not passed, True) else PAGES[::3]
    for page in pages:
        run_before_page(v1_trial, v1_proxy, page, passed)
    v1_trial.start(RECORDS)
    v1_trial.await_arrived()
    v1_trial.leave()
    v1_trial.check()
    v1_trial.check_no_losses()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_tried_again_whatever_it_says_of_when(trial, proxy, status):
    """Kept: Retry-After of -1, garbage or a date in the past is as good as none."""
    values = ["-1", "soon", formatdate(0, usegmt=True), "Wed, 99 Foo 2026"]
    for value in values:
        proxy.rule(busy(value, status), lambda seen: seen.path.endswith("/events"), times=1)
    trial.start(20)
    trial.await_drained()
    trial.leave()
    assert proxy.struck["busy"] == len(values)
    trial.check()
    trial.check_no_losses()


@pytest.mark.parametrize("generation", ["classic"])
def test_a_server_that_stays_busy_is_asked_ever_more_rarely(trial, proxy):
    """In nobody's way: that it answers other questions is no reason to press it for this one."""
    proxy.rule(busy(status=429), lambda seen: seen.path.endswith("/events"))
    trial.start(10)
    trial.said("LOGGED")
    time.sleep(5.0)
    # 0.25 s on average before the second attempt, and twice as long before each one after it.
    assert 2 <= proxy.struck["busy"] <= 9
    proxy.clear()
    trial.await_drained(monotonic())
    trial.leave()
    trial.check()
    trial.check_no_losses()


def test_a_date_in_retry_after_is_waited_for(v1_trial, v1_proxy):
    """Kept: until the time that a busy server names it is left alone, records in the outbox."""
    until = time.time() + 4
    v1_proxy.rule(busy(formatdate(until, usegmt=True)), is_post, times=1)
    v1_trial.start(20)
    v1_trial.said("LOGGED")
    while time.time() < int(until) - 0.3:
        assert len([seen for seen in v1_proxy.log if is_post(seen)]) == 1
        time.sleep(0.1)
    v1_trial.await_drained()
    v1_trial.leave()
    assert v1_proxy.struck["busy"] == 1
    v1_trial.check()
    v1_trial.check_no_losses()


def test_a_retry_after_of_thirty_years_holds_neither_the_application_nor_the_next_run(
        v1_trial, v1_proxy):
    """Kept: a server that wants peace has it, even from flush() and close(), for an hour."""
    v1_proxy.rule(busy(10 ** 9), lambda seen: seen.path.endswith("/events"))
    v1_trial.start(20, patience=1.0)
    v1_trial.said("LOGGED")
    time.sleep(1.0)
    stats, = v1_trial.leave(patience=1.0)
    assert stats["waiting"] and not stats["dead"]
    assert v1_proxy.struck["busy"] == 1
    v1_proxy.clear()
    v1_trial.start(5)
    v1_trial.await_arrived()
    v1_trial.leave()
    v1_trial.check()
    v1_trial.check_no_losses()
