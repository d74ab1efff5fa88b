"""`enable_faulthandler`: when it is enabled, for whom, and what is left of it.

Crashes of every kind: tests/faults/test_native_crashes.py.
"""

from __future__ import absolute_import, division

import os
import signal
import sys

import pytest
from inside import pipelines_of
from programs import UNHURRIED, with_event
from tools.waiting import wait_until

from datacat.process import native

try:
    import faulthandler
except ImportError:
    faulthandler = None

needs_faulthandler = pytest.mark.skipif(not faulthandler, reason="this Python has none")


@pytest.fixture
def unused():
    """This process without pytest's own use of faulthandler."""
    was_enabled = faulthandler.is_enabled()
    faulthandler.disable()
    yield
    native.stop()
    if was_enabled:
        faulthandler.enable(sys.__stderr__)


@pytest.fixture
def session(open_session):
    """A session whose server is away."""
    return open_session("http://127.0.0.1:1", connect_wait=0)


def files_in(spool):
    return [name for name in os.listdir(str(spool)) if name.endswith(".stacks")]


@needs_faulthandler
@pytest.mark.parametrize("farewell", ["end", "close"])
def test_it_is_enabled_until_the_session_is_over(unused, session, spool, farewell):
    assert session.enable_faulthandler() is True
    assert session.enable_faulthandler() is True, "repeated"
    assert faulthandler.is_enabled()
    (name,) = files_in(spool)
    assert ".%s.%d." % (session.local_id, os.getpid()) in name
    getattr(session, farewell)(timeout=0)
    assert not faulthandler.is_enabled() and files_in(spool) == []
    assert session.enable_faulthandler() is False, "the session is over"
    if farewell == "close":
        wait_until(lambda: not pipelines_of(spool_dir=str(spool)))


@needs_faulthandler
def test_one_session_of_a_process_has_it_at_a_time(unused, session, open_session):
    other = open_session("http://127.0.0.1:1", connect_wait=0)
    assert session.enable_faulthandler() is True
    assert other.enable_faulthandler() is False
    session.end(timeout=0)
    assert other.enable_faulthandler() is True


@needs_faulthandler
def test_what_the_program_has_enabled_is_left_alone(unused, session, spool, tmp_path):
    with open(str(tmp_path / "own"), "w") as own:
        faulthandler.enable(own)
        assert session.enable_faulthandler() is False and files_in(spool) == []
        session.end(timeout=0)
        assert faulthandler.is_enabled()
        faulthandler.disable()


@needs_faulthandler
def test_what_the_program_enables_instead_is_left_alone(unused, session, spool, tmp_path):
    assert session.enable_faulthandler() is True
    with open(str(tmp_path / "own"), "w") as own:
        faulthandler.enable(own)
        session.end(timeout=0)
        assert faulthandler.is_enabled() and files_in(spool) == []
        faulthandler.disable()


@needs_faulthandler
def test_without_a_folder_it_is_not_enabled_and_says_so(unused, open_session, tmp_path, caplog):
    (tmp_path / "file").write_text(u"")
    nowhere = str(tmp_path / "file")
    session = open_session("http://127.0.0.1:1", connect_wait=0, spool_dir=nowhere)
    assert session.enable_faulthandler() is False
    assert not faulthandler.is_enabled()
    assert "in memory only, so there is no folder" in caplog.text


def test_on_a_python_without_it_it_says_so(session, monkeypatch, caplog):
    monkeypatch.setattr(native, "faulthandler", None)
    assert session.enable_faulthandler() is False
    assert "this Python has no module faulthandler" in caplog.text


SEGFAULT = UNHURRIED + u"""
import ctypes

def crash_deep_inside():
    ctypes.string_at(0)

session = datacat.create_session(connect_wait=PATIENCE)
session.log_event("first")
assert session.enable_faulthandler()
crash_deep_inside()
"""


@needs_faulthandler
def test_the_next_runs_crash_report_carries_the_stacks(
    any_fresh_collector, open_session, run_program, spool
):
    run_program(SEGFAULT, any_fresh_collector.url).wait(expect=-signal.SIGSEGV)
    assert len(files_in(spool)) == 1
    open_session(any_fresh_collector.url)
    name = "session_crashed_detected" if any_fresh_collector.classic else "session_crash_report"
    wait_until(lambda: with_event(any_fresh_collector, name))
    (crashed,) = with_event(any_fresh_collector, name)
    (event,) = [each for each in crashed["events"] if each["name"] == name]
    assert event["data"]["reason"] == "native_crash"
    assert "in crash_deep_inside" in event["data"]["stacks"]
    message = event.get("message") or event["data"]["_message"]
    assert message == "Fatal Python error: Segmentation fault"
    wait_until(lambda: files_in(spool) == [])
