"""What a test can ask of a recording session, and what it does not touch."""

from __future__ import absolute_import, division

import datetime
import os
import sys
import textwrap
import threading

import freezegun
import pytest
from tools.process import ChildProcess, environment
from tools.waiting import PATIENCE

import datacat
from datacat.testing.session import RecordingSession


@pytest.fixture
def session():
    return RecordingSession()


def words(call, *arguments, **data):
    """Return the text of the AssertionError that a call raises."""
    with pytest.raises(AssertionError) as caught:
        call(*arguments, **data)
    return str(caught.value)


def test_records_are_lists_of_plain_dicts(session):
    session.log_event("saved", {"path": "a"}, labels=("l",))
    session.log_metric("size", 3, tags={"a": "b"})
    session.log_exception(ValueError("v"))
    assert session.events == [{"name": "saved", "data": {"path": "a"}, "labels": ["l"]}]
    assert session.metrics == [{"name": "size", "value": 3, "tags": ["a:b"]}]
    assert [each["exception_type"] for each in session.exceptions] == ["ValueError"]


def test_the_state_is_merged_as_a_server_does(session):
    assert session.state == {}
    session.update_state({"window": {"open": [1], "active": 1}, "gone": 1})
    session.update_state({"window": {"open": [2]}, "gone": None})
    assert session.state == {"window": {"open": [2], "active": 1}}
    session.update_state({"window": None})
    assert session.state == {}


def test_what_is_logged_later_does_not_change_what_was_recorded(session):
    data = {"list": [1]}
    session.log_event("e", data)
    data["list"].append(2)
    assert session.events[0]["data"] == {"list": [1]}


def test_assert_logged_returns_the_first_event_that_fits(session):
    session.log_event("saved", {"path": "a", "size": 3})
    session.log_event("saved", {"path": "b", "size": 3}, message="m")
    assert session.assert_logged("saved")["data"]["path"] == "a"
    assert session.assert_logged("saved", path="b", size=3)["message"] == "m"


def test_assert_logged_finds_exceptions(session):
    session.log_exception(ValueError("v"), {"where": "here"})
    assert session.assert_logged("exception", type="ValueError", where="here")


class Anything(object):
    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    def __hash__(self):
        return 0


class Undecided(object):
    def __eq__(self, other):
        raise ValueError("ambiguous")

    __hash__ = None


def test_assert_logged_compares_values_as_they_are_recorded(session):
    session.log_event("e", {"name": "n", "self": 1, "when": datetime.date(2020, 2, 2), "t": (1,)})
    session.assert_logged("e", when=datetime.date(2020, 2, 2), t=(1,))
    session.assert_logged("e", when="2020-02-02", t=[1])
    session.assert_logged("e", name="n", self=1)
    session.assert_logged("e", when=Anything(), t=[Anything()])
    assert "no event" in words(session.assert_logged, "e", t=Undecided())


def test_assert_logged_shows_how_the_closest_event_differs(session):
    session.log_event("saved", {"path": "x", "size": 1, "unasked": 1})
    session.log_event("saved", {"path": "a", "size": 3, "when": "now", "unasked": 1})
    shown = words(session.assert_logged, "saved", path="b", size=3, when=Anything(), by=None)
    assert shown == textwrap.dedent("""\
        no event "saved" was logged with this data; the closest of 2 (- wanted, + logged):
            {
          -   "by": null,
          -   "path": "b",
          +   "path": "a",
              "size": 3,
              "when": "now"
            }""")


def test_assert_logged_shows_what_was_logged_under_other_names(session):
    session.log_event("opened", {"path": "a"})
    session.log_event("saved", {"much": "x" * 1000})
    shown = words(session.assert_logged, "svaed")
    assert shown.splitlines()[:2] == [
        'no event "svaed" was logged (did you mean "saved"?); these were:',
        '  opened {"path": "a"}',
    ]
    assert len(shown) < 300
    for _ in range(100):
        session.log_event("more")
    assert words(session.assert_logged, "svaed").endswith("\n  ... and 82 more")


def test_assert_logged_says_if_nothing_was_logged(session):
    assert words(session.assert_logged, "e") == 'no event "e" was logged, nor any other'


def test_assert_logged_tells_of_letters_beyond_ascii(session):
    session.log_event(u"ges\xf6ffnet", {"name": u"\xe4"})
    assert "ffnet" in words(session.assert_logged, u"\xf6")
    assert "wanted" in words(session.assert_logged, u"ges\xf6ffnet", name=u"\xfc")


def test_assert_logged_takes_data_by_keyword_only(session):
    with pytest.raises(TypeError) as caught:
        session.assert_logged("saved", {"path": "a"})
    assert "by keyword" in str(caught.value)


def test_many_threads_may_log(session):
    def log():
        for number in range(100):
            session.log_event("e", {"number": number})
            session.update_state({threading.current_thread().name: number})

    threads = [threading.Thread(target=log) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(session.events) == 400
    assert sorted(session.state.values()) == [99] * 4
    assert session.stats()["sent"] == 801 and session.stats()["waiting"] == 0


def test_it_records_although_datacat_is_disabled(monkeypatch):
    monkeypatch.setenv("DATACAT_DISABLED", "1")
    session = RecordingSession()
    session.log_event("e")
    session.assert_logged("e")


def test_its_client_sends_nothing(session):
    session.client.log_event(session.session_id, "e")
    assert session.client.get_all_sessions() == []


def test_it_works_while_time_stands_still():
    with freezegun.freeze_time("2020-02-02"):
        with RecordingSession() as session:
            session.start_heartbeat_monitor()
            session.heartbeat()
            session.log_event("e", {"when": datetime.datetime.now()})
            assert session.flush(60)
    session.assert_logged("e", when="2020-02-02T00:00:00")


def test_a_warning_is_given_once(session, caplog):
    session.log_exception()
    session.log_exception()
    assert caplog.text.count("log_exception was called without an exception") == 1
    assert len(session.exceptions) == 2


USE_AND_TELL = u"""
import os, socket, sys, threading, uuid
import six
touched = []
socket.socket.connect = None
os.open = os.mkdir = os.makedirs = lambda *_, **__: touched.append(_)
threading.Thread.start = lambda *_: touched.append(_)
from datacat.testing.session import RecordingSession
with RecordingSession() as session:
    session.log_event("e")
    session.log_metric("m", 1)
    session.log_exception(ValueError("v"))
    session.update_state({"a": 1})
    session.start_heartbeat_monitor()
    session.heartbeat()
    session.get_details()
heavy = set(["requests", "urllib3", "sqlite3", "datacat.process.pipeline"]) & set(sys.modules)
print("touched %r, loaded %r" % (touched, sorted(heavy)))
"""


def test_it_uses_no_network_no_thread_and_no_file(tmp_path):
    folder = str(tmp_path)
    child = ChildProcess(
        [sys.executable, "-c", USE_AND_TELL],
        environment({"HOME": folder, "XDG_STATE_HOME": folder}),
        cwd=folder,
    )
    try:
        assert child.wait(PATIENCE) == 0, child.output
        assert child.output == u"touched [], loaded []\n"
    finally:
        child.close()
    assert os.listdir(folder) == []


def test_the_package_loads_nothing_before_it_is_used():
    code = "import sys, datacat; print([m for m in sys.modules if 'testing' in m.split('.')[1:]])"
    child = ChildProcess([sys.executable, "-c", code], environment())
    try:
        assert child.wait(PATIENCE) == 0, child.output
        assert child.output == u"[]\n"
    finally:
        child.close()


def test_it_is_no_more_than_a_session_and_its_questions():
    """A name that is added to Session is there as well, without a word here."""
    questions = ["assert_logged", "events", "exceptions", "metrics", "state"]
    public = set(name for name in dir(RecordingSession) if not name.startswith("_"))
    assert public - set(dir(datacat.Session)) == set(questions)
