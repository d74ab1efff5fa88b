"""What waited is sent many records at a time: once and in order, whatever stands in between."""

from __future__ import absolute_import, division

import pytest
from tools import faults, held
from tools.gateway import Gateway
from tools.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.usefixtures("timed_disks")
MANY = 90


@pytest.fixture
def log_offline(any_own_collector, open_session):
    """Returns a session at a URL with many records logged while its server was away."""

    def log(url, **options):
        session = open_session(url, **options)
        session.flush(PATIENCE)
        any_own_collector.stop()
        for number in range(MANY):
            session.log_event("step", {"number": number})
            session.log_metric("load", number)
            session.update_state({"step": number})
        any_own_collector.start()
        wait_until(lambda: session.flush(PATIENCE))
        return session

    return log


def check(collector, session):
    there = collector.session(session.session_id)
    assert held.numbers(there) == list(range(MANY))
    assert [metric["value"] for metric in there["metrics"]] == list(range(MANY))
    assert there["state"]["step"] == MANY - 1
    stats = session.stats()
    assert [stats[name] for name in ("dead", "dropped", "possibly_twice", "overtaken")] == [0] * 4


def test_a_backlog_goes_many_records_at_a_time(any_own_collector, log_offline):
    with Gateway(any_own_collector.port) as gateway:
        session = log_offline(gateway.url)
        check(any_own_collector, session)
        assert max(gateway.together) > 32
        assert len(gateway.together) < MANY


def test_with_window_1_each_record_waits_for_the_answer_to_the_one_before(
    any_own_collector, log_offline
):
    with Gateway(any_own_collector.port) as gateway:
        check(any_own_collector, log_offline(gateway.url, window=1))
        assert max(gateway.together) == 1


def test_a_gateway_that_handles_requests_side_by_side_is_found_out(
    any_own_collector, open_session, caplog
):
    """Of the first windows, which are small, and before there are larger ones."""
    with Gateway(any_own_collector.port, lambda requests: requests[::-1]) as gateway:
        session = open_session(gateway.url)
        session.flush(PATIENCE)
        any_own_collector.stop()
        for number in range(MANY):
            session.log_event("step", {"number": number})
        any_own_collector.start()
        wait_until(lambda: session.flush(PATIENCE))
        numbers = held.numbers(any_own_collector.session(session.session_id))
        assert sorted(numbers) == list(range(MANY))
        assert numbers[12:] == list(range(12, MANY)) and numbers[:12] != list(range(12))
        # Four records, and the request behind them that reads the session.
        assert max(gateway.together) <= 5
    assert caplog.text.count("out of order") == 1


@pytest.mark.parametrize("fault", [faults.LoseAnswer, faults.CutAnswer])
def test_a_connection_that_breaks_in_the_middle_costs_no_copy(
    any_own_collector, log_offline, before, fault
):
    proxy = before(any_own_collector)
    proxy.rule(fault(), lambda seen: seen.path.endswith("/metrics") and seen.number > 100, times=1)
    session = log_offline(proxy.url)
    assert proxy.struck[fault.name] == 1
    check(any_own_collector, session)
