"""Child processes: their accepted calls are recorded, and they die on time."""

from __future__ import absolute_import, division

import signal
import sys
import time

import pytest

from tools.application import Application
from tools.invariants import read_accepted
from tools.process import ChildProcess, environment
from tools.waiting import wait_until

PROGRAM = u"""
import sys, time
from tools.recorder import Recorder

class Session(object):
    local_id = "local-1"
    def log_event(self, name, data=None, **extras):
        if name == "refused":
            raise ValueError("no")
    def log_metric(self, name, value, tags=None, **extras): pass
    def update_state(self, state): pass
    def log_exception(self, extra_data=None, exc_info=None): pass

recorder = Recorder(Session(), sys.argv[1], "w", die_after=int(sys.argv[3]) or None)
for number in range(int(sys.argv[2])):
    recorder.log_event("e", {"number": number})
"""


def events(count, then=u"", die_after=0, **options):
    folder = options.pop("folder")
    return Application(PROGRAM + then, folder, arguments=(count, die_after), **options)


def test_what_an_application_accepted_is_in_its_file(tmp_path):
    with events(3, folder=tmp_path) as application:
        application.wait()
    calls = list(read_accepted([application.accepted]).values())
    assert [call.fields["data"]["number"] for call in calls] == [0, 1, 2]
    assert [call.outcome for call in calls] == ["returned"] * 3
    assert application.count_accepted() == 3
    assert all(call.began <= call.ended and call.asked == 0 for call in calls)


def test_a_line_torn_by_a_kill_spoils_none_of_the_next_run(tmp_path):
    accepted = tmp_path / "accepted.jsonl"
    accepted.write_text(u'{"trying": "torn", "session": "local-1", "fields": {"name": "e"')
    with events(2, folder=tmp_path, accepted=str(accepted)) as application:
        application.wait()
    calls = list(read_accepted([application.accepted]).values())
    assert [call.fields["data"]["number"] for call in calls] == [0, 1]
    assert [call.outcome for call in calls] == ["returned"] * 2


def test_every_kind_of_call_is_recorded_with_its_mark(tmp_path):
    then = (
        u"recorder.log_metric('m', 1.5, ['a:b'], unit='s')\n"
        u"recorder.update_state({'a': {'b': 1}})\n"
        u"recorder.log_exception(KeyError('k'), {'x': 1})\n"
    )
    with events(0, then, folder=tmp_path) as application:
        application.wait()
    calls = list(read_accepted([application.accepted]).values())
    marks = [call.mark for call in calls]
    assert [(call.kind, call.fields) for call in calls] == [
        ("metric", {"name": "m", "value": 1.5, "unit": "s", "tags": ["a:b", "mark:" + marks[0]]}),
        ("state", {"a": {"b": 1}, "mark": marks[1]}),
        (
            "exception",
            {
                "name": "exception",
                "data": {"x": 1, "mark": marks[2], "type": "KeyError", "message": "'k'"},
            },
        ),
    ]


def test_a_call_that_raised_differs_from_one_that_returned(tmp_path):
    then = u"recorder.log_event('refused')\n"
    with events(1, then, folder=tmp_path) as application:
        application.wait(expect=1)
    assert "ValueError: no" in application.output
    calls = list(read_accepted([application.accepted]).values())
    assert [call.outcome for call in calls] == ["returned", "raised"]


def test_an_application_kills_itself_after_exactly_so_many_calls(tmp_path):
    with events(100, die_after=7, folder=tmp_path) as application:
        application.wait(expect=-signal.SIGKILL)
    assert application.count_accepted() == 7


def test_an_application_is_killed_after_so_many_calls_at_least(tmp_path):
    then = u"while True:\n    recorder.log_event('e')\n    time.sleep(0.001)\n"
    with events(0, then, folder=tmp_path) as application:
        assert application.kill_after_accepted(20) == -signal.SIGKILL
    assert application.count_accepted() >= 20


def test_an_application_is_killed_after_a_delay(tmp_path):
    with events(1, u"time.sleep(600)\n", folder=tmp_path) as application:
        application.wait_for_accepted(1)
        assert application.kill_after(0.05) == -signal.SIGKILL


def test_an_application_that_ends_too_early_is_an_error_with_its_output(tmp_path):
    with events(1, u"print('so ' + 'long')\n", folder=tmp_path) as application:
        with pytest.raises(AssertionError) as caught:
            application.kill_after_accepted(2)
    assert "so long" in str(caught.value)
    assert "after 1 of 2 calls" in str(caught.value)


def test_an_unexpected_exit_status_is_an_error_with_the_output(tmp_path):
    with events(0, u"sys.exit('I am ill')\n", folder=tmp_path) as application:
        with pytest.raises(AssertionError) as caught:
            application.wait()
    assert "I am ill" in str(caught.value)


def test_runs_that_share_a_file_are_counted_apart(tmp_path):
    for _ in range(2):
        with events(3, folder=tmp_path) as application:
            application.wait()
        assert application.count_accepted() == 3
    assert len(read_accepted([application.accepted])) == 6


def test_a_paused_application_does_nothing_until_it_is_resumed(tmp_path):
    then = (
        u"import os\n"
        u"while not os.path.exists('enough'):\n"
        u"    recorder.log_event('e')\n"
        u"    time.sleep(0.001)\n"
    )
    with events(0, then, folder=tmp_path) as application:
        application.wait_for_accepted(5)
        application.pause()
        with open("/proc/%d/stat" % application.pid) as stream:
            wait_until(lambda: stream.seek(0) or ") T " in stream.read())
        count = application.count_accepted()
        # If it were not paused, a slow machine might hide it.
        time.sleep(0.2)
        assert application.count_accepted() == count
        application.resume()
        application.wait_for_accepted(count + 5)
        (tmp_path / "enough").write_bytes(b"")
        application.wait()


def test_a_child_does_not_see_the_tests_settings(monkeypatch):
    monkeypatch.setenv("DATACAT_API_KEY", "secret")
    assert [name for name in environment() if name.startswith("DATACAT_")] == []
    assert environment({"DATACAT_URL": "u"})["DATACAT_URL"] == "u"


def test_close_ends_a_child_that_still_runs():
    child = ChildProcess([sys.executable, "-c", "import time; time.sleep(600)"], environment())
    child.close()
    assert child.returncode == -signal.SIGKILL
