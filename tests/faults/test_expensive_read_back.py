"""Once (7): if a read-back costs too much or fails, the record is sent again and counted.

Records go one by one here, so that just as many are in doubt as answers were lost.
"""

from __future__ import absolute_import, division

import os

import pytest
from tools.faults import Answer, LoseAnswer, Throttle, is_write
from tools.memory import forget_peak, peak_memory

MEBIBYTE = 1024 * 1024
# As docs/reliability.md says.
READ_BACK_ATTEMPTS = 3
MOST_MEMORY = 15 * MEBIBYTE
FIRST_LOST = 40
LINE = 32 * 1000 // 8  # bytes a second


def is_session_read(request):
    return request.method == "GET" and request.path.startswith("/api/sessions/")


def is_read_back(request):
    """Return whether a request is a read-back, rather than one that tells the dialect."""
    return is_session_read(request) and request.number > FIRST_LOST


def large_session(request):
    """The beginning of a session of over 64 MiB, streamed."""
    yield b'{"id":"' + request.path.rsplit("/", 1)[1].encode("ascii") + b'","events":['
    for _ in range(70):
        yield b'{"name":"ballast","data":{"text":"' + b"x" * MEBIBYTE + b'"}},'


def lose_some_answers(proxy, some=2):
    """Lose the answers to one or two writes, far enough apart."""
    for nth in (FIRST_LOST, 2 * FIRST_LOST)[:some]:
        proxy.rule(
            LoseAnswer(), lambda seen, nth=nth: is_write(seen) and seen.number > nth, times=1
        )


def check_fallback(trial, proxy, some=2):
    """Check that all arrived, and that this many records were sent in doubt and counted."""
    struck = proxy.struck["lose_answer"]
    losses = trial.losses()
    counted = losses.pop("possibly_twice")
    assert struck == counted == some
    assert not any(losses.values()), losses
    trial.check(allow={"twice": counted})


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux's /proc")
def test_a_session_of_64_mib_costs_neither_much_time_nor_memory(trial, proxy):
    """Once: the read-back stops at a limit; memory grows by under 15 MB, calls stay fast."""
    lose_some_answers(proxy)
    proxy.rule(
        Answer(200, large_session, [("Content-Type", "application/json")]).named("large"),
        is_read_back,
    )
    application = trial.start(200, sessions=2, seconds_between=0.02, window=1)
    application.wait_for_accepted(20)
    before = forget_peak(application.pid)
    trial.await_drained()
    grown = peak_memory(application.pid) - before
    trial.leave()
    # One read-back each, and then its beginning: the next one would be as large.
    assert proxy.struck["large"] == 4
    assert grown < MOST_MEMORY, "%.1f MiB" % (grown / MEBIBYTE)
    check_fallback(trial, proxy)


def test_a_read_back_on_a_slow_line_gets_the_time_that_it_takes(trial, proxy, scaled):
    """Once: an answer that keeps coming in is not cut by the deadline, and finds the record."""
    lose_some_answers(proxy, scaled(1, 2))
    proxy.rule(Throttle(LINE), is_session_read)
    trial.start(120, seconds_between=0.005, deadline=0.5, window=1)
    trial.await_drained(within=600)
    trial.leave()
    assert proxy.struck["throttle"] >= 1
    trial.check()
    trial.check_no_losses()


def test_read_backs_that_fail_do_not_block_the_queue(trial, proxy):
    """Once: read-backs that fail on a server that accepts records are given up and counted."""
    lose_some_answers(proxy)
    failing = Answer(500, b"no such table\n", [("Content-Type", "text/plain")]).named("failing")
    proxy.rule(failing, is_read_back)
    trial.start(120, seconds_between=0.005, window=1)
    trial.await_drained()
    trial.leave()
    assert proxy.struck["failing"] == 2 * READ_BACK_ATTEMPTS
    check_fallback(trial, proxy)
