"""Network (23): lines that lose, crawl, flap and swallow; calls and farewells keep their times."""

from __future__ import absolute_import, division

import time

import pytest
from tools.faults import Reset, Stall, Throttle, every

from datacat._compat import monotonic

LINE = 32 * 1000 // 8  # bytes a second
PATIENCE = 0.5


def finish(trial, fault_ended):
    """Wait for the drain, leave, and check that nothing was lost or doubled."""
    trial.await_drained(fault_ended)
    trial.leave()
    trial.check()
    trial.check_no_losses()


def finish_in_next_run(trial):
    """Let the next run deliver all, and check that nothing was lost or doubled."""
    trial.start(5)
    trial.await_arrived()
    trial.leave()
    trial.check()
    trial.check_no_losses()


def answered(proxy):
    """Return how many requests have got their answer so far."""
    return sum(seen.status is not None for seen in proxy.log)


def test_a_lossy_line_loses_and_doubles_nothing(trial, proxy, scaled):
    """Once: requests lost before the server, answers lost after it, connections reset."""
    faults = [Reset(), Stall().named("request lost"), Stall(applied=True).named("answer lost")]
    for first, fault in enumerate(faults, 7):
        proxy.rule(fault, every(25, first), times=scaled(1, None))
    records = scaled(40, 3000)
    trial.start(records, sessions=4, seconds_between=0.005, timeout=scaled(0.25, 0.5))
    trial.await_drained(within=scaled(60, 1800))
    fault_ended = monotonic()
    struck = dict((fault.name, proxy.struck[fault.name]) for fault in faults)
    assert min(struck.values()) >= scaled(1, records // 25), struck
    finish(trial, fault_ended)


def test_a_line_of_32_kbit_carries_all(trial, proxy, scaled):
    """Kept: a slow line is slow, and nothing else."""
    records = scaled(12, 300)
    proxy.rule(Throttle(LINE))
    trial.start(records, seconds_between=0.01)
    trial.await_drained(within=scaled(30, 300))
    assert proxy.struck["throttle"] >= records
    finish(trial, monotonic())


@pytest.mark.parametrize("cut", ["partition", "black_hole", "refuse"])
def test_a_line_cut_in_the_middle_holds_nobody_up(trial, proxy, scaled, cut):
    """In nobody's way: calls stay fast; what was under way is found out, and all arrives."""
    records = scaled(120, 1500)
    application = trial.start(records, sessions=2, seconds_between=0.01, timeout=0.3)
    application.wait_for_accepted(records // 10)
    getattr(proxy, cut)()
    answered_before, accepted_before = answered(proxy), application.count_accepted()
    time.sleep(scaled(1, 10))
    # One answer may have been on its way.
    assert answered(proxy) <= answered_before + 1
    assert application.count_accepted() > accepted_before + records // 4
    proxy.heal()
    assert proxy.struck[cut] == 1
    finish(trial, monotonic())


# A partition is a black hole for whoever connects in it.
@pytest.mark.parametrize("cut", ["black_hole", "refuse"])
def test_a_line_cut_from_the_start_holds_neither_start_nor_farewell_nor_exit(trial, proxy, cut):
    """In nobody's way: create_session, close(t) and exit keep their times; the next run sends."""
    getattr(proxy, cut)()
    trial.start(50, sessions=2, farewell="close", patience=PATIENCE, connect_wait=0.5)
    trial.check_opened_within(0.5)
    for stats in trial.leave(patience=PATIENCE):
        assert stats["waiting"] >= 1 and not stats["sent"], stats
    assert answered(proxy) == 0
    proxy.heal()
    assert proxy.struck[cut] == 1
    finish_in_next_run(trial)


def test_a_line_cut_at_the_end_holds_neither_farewell_nor_exit(trial, proxy):
    """In nobody's way: end(t) and exit keep their times with a request under way."""
    application = trial.start(100, seconds_between=0.005, patience=PATIENCE)
    application.wait_for_accepted(50)
    proxy.partition()
    trial.said("LOGGED")
    (stats,) = trial.leave(patience=PATIENCE)
    assert stats["waiting"] >= 1, stats
    proxy.heal()
    assert proxy.struck["partition"] == 1
    finish_in_next_run(trial)


def test_a_line_that_flaps_loses_and_doubles_nothing(trial, proxy, scaled):
    """Once: refused and healed each second (the long form: 3,600 times), also within requests."""
    flaps, interval, records = scaled(3, 3600), scaled(0.5, 0.07), scaled(200, 6000)
    trial.start(records, sessions=3, seconds_between=flaps * 2 * interval / records, timeout=1)
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
    trial.start(
        50,
        source="hanging_names.py",
        farewell="close",
        patience=PATIENCE,
        name=name,
        hangs=60,
        connect_wait=0.5,
    )
    trial.check_opened_within(0.5)
    assert trial.said("HANGS", timeout=5) >= 1
    (stats,) = trial.leave(patience=PATIENCE)
    assert stats["waiting"] == 51 and not proxy.log
    trial.start(50, source="hanging_names.py", name=name, hangs=1)
    trial.await_arrived()
    trial.leave()
    trial.check()
    trial.check_no_losses()
