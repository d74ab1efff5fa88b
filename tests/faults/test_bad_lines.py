"""Network (23): lossy, slow, flapping and dead lines; calls and farewells keep their times."""

from __future__ import absolute_import, division

import collections
import time

import pytest
from tools.faults import Reset, Stall, Throttle, every
from tools.waiting import wait_until

LINE = 32 * 1000 // 8  # bytes a second
PARTING = 0.5  # seconds for a farewell
# What a request may take where nothing answers: whoever waits for it waits too long.
FOR_LONG = 600


def finish(trial, within=300):
    """Wait until all is delivered, end, and check that nothing was lost or doubled."""
    trial.await_drained(within)
    trial.leave()
    trial.check()
    trial.check_no_losses()


def finish_in_next_run(trial):
    """Let the next run deliver everything, and check that nothing was lost or duplicated."""
    trial.start(5)
    trial.await_arrived()
    trial.leave()
    trial.check()
    trial.check_no_losses()


def answered(proxy):
    """Return how many requests have been answered so far."""
    return sum(seen.status is not None for seen in proxy.log)


def every_other_read_back():
    """Return a predicate that is true for every other GET of the same path.

    After three failed read-backs in a row the client sends the record again and counts that; pure
    chance would bring this about once in a few thousand records.
    """
    numbers = collections.defaultdict(list)

    def is_spared(seen):
        of_path = numbers[seen.path]
        if seen.number not in of_path[-1:]:
            of_path.append(seen.number)
        return seen.method == "GET" and len(of_path) % 2 == 0

    return is_spared


def test_a_lossy_line_loses_and_duplicates_nothing(trial, proxy, scaled):
    """Once: requests lost before the server, answers lost after it, connections reset."""
    faults = [Reset(), Stall().named("request lost"), Stall(applied=True).named("answer lost")]
    is_spared = every_other_read_back()
    for first, fault in enumerate(faults, 7):
        is_due = every(25, first)
        proxy.rule(
            fault,
            lambda seen, is_due=is_due: not is_spared(seen) and is_due(seen),
            times=scaled(1, None),
        )
    records = scaled(40, 3000)
    trial.start(records, sessions=4, seconds_between=0.005, timeout=1.0)
    trial.await_drained(within=scaled(300, 3600))
    struck = dict((fault.name, proxy.struck[fault.name]) for fault in faults)
    assert min(struck.values()) >= scaled(1, records // 25), struck
    finish(trial)


def test_a_line_of_32_kbit_delivers_everything(trial, proxy, scaled):
    """Kept: on a slow line records arrive late, but all of them."""
    records = scaled(12, 300)
    proxy.rule(Throttle(LINE))
    trial.start(records, seconds_between=0.01)
    trial.await_drained(within=scaled(300, 900))
    assert proxy.struck["throttle"] >= records
    finish(trial)


@pytest.mark.parametrize("cut", ["partition", "black_hole", "refuse"])
def test_an_outage_blocks_no_call(trial, proxy, scaled, cut):
    """Never in the way: calls return during the outage, and everything arrives after it."""
    records = scaled(120, 1500)
    application = trial.start(
        records,
        sessions=2,
        seconds_between=0.01,
        endless=True,
        timeout=FOR_LONG,
        deadline=FOR_LONG,
    )
    application.wait_for_accepted(records // 10)
    getattr(proxy, cut)()
    answered_before, accepted_before = answered(proxy), application.count_accepted()
    # Whatever it sends meanwhile waits for the end of the outage, which comes after these calls.
    application.wait_for_accepted(accepted_before + records)
    # One answer may have been on its way.
    assert answered(proxy) <= answered_before + 1
    proxy.heal()
    trial.enough()
    assert proxy.struck[cut] == 1
    finish(trial)


def test_an_outage_that_requests_do_not_outlast_loses_and_doubles_nothing(trial, proxy):
    """Once: requests time out again and again, and their records are read back afterwards."""
    application = trial.start(
        50, sessions=2, seconds_between=0.01, endless=True, timeout=1.0, deadline=1.0
    )
    application.wait_for_accepted(50)
    before = len(proxy.log)
    proxy.partition()
    wait_until(lambda: len(proxy.log) >= before + 3)
    proxy.heal()
    trial.enough()
    finish(trial)


# A partition that exists at the start is a black hole.
@pytest.mark.parametrize("cut", ["black_hole", "refuse"])
def test_an_outage_at_the_start_delays_neither_start_nor_close_nor_exit(trial, proxy, cut):
    """Never in the way: create_session, close(t) and exit keep their times; the next run sends."""
    getattr(proxy, cut)()
    trial.start(
        50,
        sessions=2,
        farewell="close",
        patience=PARTING,
        connect_wait=0.5,
        timeout=FOR_LONG,
        deadline=FOR_LONG,
    )
    trial.check_opened_within(0.5)
    for stats in trial.leave(patience=PARTING):
        assert stats["waiting"] >= 1 and not stats["sent"], stats
    assert answered(proxy) == 0
    proxy.heal()
    assert proxy.struck[cut] == 1
    finish_in_next_run(trial)


def test_an_outage_at_the_end_delays_neither_end_nor_exit(trial, proxy):
    """Never in the way: end(t) and exit keep their times with a request in flight."""
    application = trial.start(
        100, seconds_between=0.005, patience=PARTING, timeout=FOR_LONG, deadline=FOR_LONG
    )
    application.wait_for_accepted(50)
    proxy.partition()
    trial.said("LOGGED")
    (stats,) = trial.leave(patience=PARTING)
    assert stats["waiting"] >= 1, stats
    proxy.heal()
    assert proxy.struck["partition"] == 1
    finish_in_next_run(trial)


def test_a_flapping_line_loses_and_duplicates_nothing(trial, proxy, scaled):
    """Once: the line is cut and restored every second, also within requests."""
    flaps, interval, records = scaled(3, 3600), scaled(0.5, 0.07), scaled(200, 6000)
    trial.start(records, sessions=3, seconds_between=flaps * 2 * interval / records, timeout=5)
    for _ in range(flaps):
        proxy.refuse()
        time.sleep(interval)
        proxy.heal()
        time.sleep(interval)
    assert proxy.struck["refuse"] == flaps
    finish(trial)


def test_a_hanging_name_service_blocks_no_call(trial, proxy):
    """Never in the way: the sender hangs in the name service, the application does not."""
    name = "datacat-that-hangs.invalid"
    port = trial.url.rsplit(":", 1)[1]
    trial.url = "http://%s:%s" % (name, port)
    trial.start(
        50,
        source="hanging_names.py",
        farewell="close",
        patience=PARTING,
        name=name,
        hangs=FOR_LONG,
        connect_wait=0.5,
    )
    trial.check_opened_within(0.5)
    assert trial.said("HANGS") >= 1
    (stats,) = trial.leave(patience=PARTING)
    assert stats["waiting"] == 51 and not proxy.log
    trial.start(50, source="hanging_names.py", name=name, hangs=1)
    trial.await_arrived()
    trial.leave()
    trial.check()
    trial.check_no_losses()
