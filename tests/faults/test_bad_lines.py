"""Network (23): lines that lose, crawl, flap and swallow; calls and farewells keep their times."""
from __future__ import absolute_import, division

import time

import pytest
from tools.faults import Reset, Stall, Throttle, one_in

from datacat._compat import monotonic

LINE = 32 * 1000 // 8  # bytes a second
PATIENCE = 1.0


def finish(trial, fault_ended):
    """Wait for the drain, leave, and check that nothing was lost or doubled."""
    trial.await_drained(fault_ended)
    trial.leave()
    trial.check()
    trial.check_no_losses()


def test_a_lossy_line_loses_and_doubles_nothing(trial, proxy, scaled):
    """Once: requests lost before the server, answers lost after it, connections reset."""
    for seed, fault in enumerate([Reset(), Stall().named("request lost"),
                                  Stall(applied=True).named("answer lost")]):
        proxy.rule(fault, one_in(25, seed))
    trial.start(scaled(40, 3000), sessions=4, seconds_between=0.005, timeout=0.5)
    trial.await_drained(within=scaled(60, 1800))
    fault_ended = monotonic()
    assert sum(proxy.struck[name] for name in ("reset", "request lost", "answer lost")) >= 3
    finish(trial, fault_ended)


def test_a_line_of_32_kbit_carries_all(trial, proxy, scaled):
    """Kept: a slow line is slow, and nothing else."""
    proxy.rule(Throttle(LINE))
    trial.start(scaled(12, 300), seconds_between=0.01)
    trial.await_drained(within=scaled(30, 300))
    assert proxy.struck["throttle"] >= scaled(12, 300)
    finish(trial, monotonic())


@pytest.mark.parametrize("cut", ["partition", "black_hole", "refuse"])
def test_a_line_cut_in_the_middle_holds_nobody_up(trial, proxy, scaled, cut):
    """In nobody's way: calls stay fast; what was under way is found out, and all arrives."""
    records = scaled(200, 1000)
    application = trial.start(records, sessions=2, seconds_between=0.01, timeout=0.5)
    application.wait_for_accepted(records // 5)
    getattr(proxy, cut)()
    time.sleep(scaled(2, 15))
    waiting = len(proxy.log)
    proxy.heal()
    fault_ended = monotonic()
    assert proxy.struck[cut] == 1
    finish(trial, fault_ended)
    assert len(proxy.log) > waiting


@pytest.mark.parametrize("cut", ["partition", "black_hole", "refuse"])
def test_a_line_cut_from_the_start_holds_neither_start_nor_farewell_nor_exit(
        trial, proxy, scaled, cut):
    """In nobody's way: create_session, close(t) and exit keep their times; the next run sends."""
    if cut == scaled("black_hole", None):
        pytest.skip("in the long form: little else than a partition before there is a connection")
    getattr(proxy, cut)()
    trial.start(50, sessions=2, farewell="close", patience=PATIENCE, connect_wait=1.0)
    trial.check_opened_within(1.0)
    trial.leave(patience=PATIENCE)
    proxy.heal()
    assert proxy.struck[cut] == 1
    trial.start(5)
    trial.await_arrived()
    trial.leave()
    trial.check()
    trial.check_no_losses()


def test_a_line_cut_at_the_end_holds_neither_farewell_nor_exit(trial, proxy):
    """In nobody's way: end(t) and exit keep their times with a request under way."""
    application = trial.start(200, seconds_between=0.005, patience=PATIENCE)
    application.wait_for_accepted(100)
    proxy.partition()
    trial.said("LOGGED")
    trial.leave(patience=PATIENCE)
    proxy.heal()
    assert proxy.struck["partition"] == 1
    trial.start(5)
    trial.await_arrived()
    trial.leave()
    trial.check()
    trial.check_no_losses()


def test_a_line_that_flaps_loses_and_doubles_nothing(trial, proxy, scaled):
    """Once: refused and healed again and again, also in the middle of requests."""
    flaps, interval = scaled(6, 3600), scaled(0.5, 0.1)
    trial.start(scaled(300, 30000), sessions=3, seconds_between=0.01, timeout=1)
    for _ in range(flaps):
        proxy.refuse()
        time.sleep(interval)
        proxy.heal()
        time.sleep(interval)
    fault_ended = monotonic()
    assert proxy.struck["refuse"] == flaps
    finish(trial, fault_ended)


def test_a_name_service_that_hangs_holds_nobody_up(trial, proxy):
    """In nobody's way: the sender hangs in the name service, and the application does not."""
    name = "datacat-that-hangs.invalid"
    port = trial.url.rsplit(":", 1)[1]
    trial.url = "http://%s:%s" % (name, port)
    trial.start(50, source="hanging_names.py", farewell="close", patience=PATIENCE, name=name,
                hangs=60, connect_wait=1.0)
    trial.check_opened_within(1.0)
    assert trial.said("HANGS", timeout=5) >= 1
    stats, = trial.leave(patience=PATIENCE)
    assert stats["waiting"] == 51 and not proxy.log
    trial.start(50, source="hanging_names.py", name=name, hangs=2)
    trial.await_arrived()
    trial.leave()
    trial.check()
    trial.check_no_losses()
