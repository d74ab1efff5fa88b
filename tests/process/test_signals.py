"""`end_on_signals`: a signal ends the session, then calls the previous handler."""

from __future__ import absolute_import, division

import os
import signal

import pytest
from programs import OPENS, the_one
from tools import held
from tools.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")

SIGTERM_STATUS = -signal.SIGTERM

SIGTERM_ENDS = OPENS.replace(
    u"create_session(", u"create_session(end_on_signals=(signal.SIGTERM,), "
)


@pytest.mark.parametrize(
    "during", [u"time.sleep(PATIENCE)", u"while True: session.flush(PATIENCE)"]
)
def test_with_end_on_signals_sigterm_ends_the_session_and_then_the_process(
    during, fresh_collector, run_program
):
    program = run_program(SIGTERM_ENDS + u"print('ready')\n" + during, fresh_collector.url)
    wait_until(lambda: "ready" in program.output)
    program.signal(signal.SIGTERM)
    program.wait(expect=SIGTERM_STATUS)
    assert held.names(the_one(fresh_collector)) == ["first"]
    assert held.is_ended(the_one(fresh_collector))


def test_sigterm_during_a_log_call_lets_it_return_and_then_ends_the_session(
    fresh_collector, run_program
):
    """Here the handler interrupts the very thread that holds the lock it needs."""
    program = run_program(
        SIGTERM_ENDS + u"""
from datacat.process import registry
with registry.pipelines()[0].outbox.lock:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)
    session.log_event("came out")
time.sleep(PATIENCE)
""",
        fresh_collector.url,
    )
    program.wait(expect=SIGTERM_STATUS)
    assert held.names(the_one(fresh_collector)) == ["first", "came out"]
    assert held.is_ended(the_one(fresh_collector))


def test_end_on_signals_calls_the_previous_handler(fresh_collector, run_program):
    program = run_program(
        u"import signal, sys\n"
        u"def handler(number, frame):\n"
        u"    print('handled', number)\n"
        u"    sys.exit(7)\n"
        u"signal.signal(signal.SIGTERM, handler)\n"
        + SIGTERM_ENDS
        + u"print('ready')\ntime.sleep(PATIENCE)",
        fresh_collector.url,
    )
    wait_until(lambda: "ready" in program.output)
    program.signal(signal.SIGTERM)
    program.wait(expect=7)
    assert "handled" in program.output
    assert held.is_ended(the_one(fresh_collector))
