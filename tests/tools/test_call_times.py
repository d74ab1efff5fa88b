"""What is asserted of log calls: none hung, none asked to wait for longer than it may."""

from __future__ import absolute_import, division

import json
import threading

import pytest

from datacat import locks
from datacat.outbox import disk
from tools.call_times import Asking, be_patient, check_calls


@pytest.fixture
def accepted(tmp_path):
    """Writes calls, pairs (seconds taken, seconds asked for); returns the file."""

    def write(calls):
        path = tmp_path / "accepted.jsonl"
        with path.open("w", encoding="ascii") as stream:
            for number, (took, asked) in enumerate(calls):
                mark = "w.1.%d" % number
                for line in (
                    {"trying": mark, "session": "s", "kind": "event", "fields": {}},
                    {"returned": mark, "began": 10.0, "ended": 10.0 + took, "asked": asked},
                ):
                    stream.write(u"%s\n" % json.dumps(line))
        return str(path)

    return write


def test_a_call_that_took_seconds_without_asking_to_wait_passes(accepted):
    """The machine was slow."""
    check_calls([accepted([(0.001, 0.0), (25.0, 0.05)])])


def test_one_call_that_asked_to_wait_too_long_is_a_failure(accepted):
    with pytest.raises(AssertionError, match="asked to wait 51.0 ms"):
        check_calls([accepted([(0.001, 0)] * 500 + [(0.001, 0.051)])])


def test_one_call_that_hung_is_a_failure(accepted):
    with pytest.raises(AssertionError, match="took 31.0 s"):
        check_calls([accepted([(0.001, 0)] * 500 + [(31.0, 0)])])


def test_without_calls_nothing_is_shown(accepted):
    with pytest.raises(AssertionError, match="no call returned"):
        check_calls([accepted([])])


def test_what_a_call_asks_for_is_counted_whether_it_gets_the_lock_or_not():
    lock = threading.Lock()
    asking = Asking()
    assert locks.acquire_within(lock, 0.25)
    assert not locks.acquire_within(lock, 0.001)
    assert asking.end() == 0.251


def test_a_nested_call_and_other_threads_count_for_themselves():
    lock = threading.Lock()
    outer = Asking()
    locks.acquire_within(lock, 0.5)
    inner = Asking()
    lock.release()
    locks.acquire_within(lock, 0.25)
    other = threading.Thread(target=locks.acquire_within, args=(threading.Lock(), 8.0))
    other.start()
    other.join()
    assert (inner.end(), outer.end()) == (0.25, 0.5)


def test_a_patient_program_waits_for_longer_than_a_call_asks_for():
    """Within a call only: the library's threads sleep in the same way."""
    lock, slow = threading.Lock(), disk.SLOW_SECONDS
    be_patient()
    try:
        assert disk.SLOW_SECONDS > 10 * slow
        assert not (locks.acquire_within(lock, 0.0) and locks.acquire_within(lock, 0.0))
        asking = Asking()
        threading.Timer(0.05, lock.release).start()
        assert locks.acquire_within(lock, 0.0)
        assert asking.end() == 0.0
    finally:
        be_patient(False)
    assert disk.SLOW_SECONDS == slow
