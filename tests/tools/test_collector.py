"""The collector as a process: it starts, stops and restarts, and its sessions can be read."""

from __future__ import absolute_import, division

import contextlib
import os
import socket
import sys

import pytest
import requests

from tools.application import Application
from tools.collector_process import CollectorProcess, collector_python
from tools.invariants import check_invariants, compare, read_accepted


def test_a_collector_that_cannot_run_here_is_a_clear_error(monkeypatch):
    monkeypatch.delenv("DATACAT_COLLECTOR_PYTHON", raising=False)
    monkeypatch.setattr(sys, "version_info", (2, 7, 18))
    with pytest.raises(AssertionError) as caught:
        collector_python()
    assert "DATACAT_COLLECTOR_PYTHON" in str(caught.value)


def test_a_collector_that_does_not_start_is_an_error_with_what_it_said(monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text(u"#!/bin/sh\necho I shall not listen\nexit 3\n")
    os.chmod(str(broken), 0o755)
    monkeypatch.setenv("DATACAT_COLLECTOR_PYTHON", str(broken))
    with contextlib.closing(CollectorProcess(tmp_path / "db")) as collector:
        with pytest.raises(AssertionError) as caught:
            collector.start()
    assert "I shall not listen" in str(caught.value)
    assert "exit status 3" in str(caught.value)


def create(url, http):
    answer = http.post(url + "/api/sessions", json={"product": "p", "version": "1"}, timeout=10)
    return answer.json()["session_id"]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_collector_keeps_its_port_and_its_sessions_when_started_again(
    any_own_collector, http, end
):
    port = any_own_collector.port
    session_id = create(any_own_collector.url, http)
    getattr(any_own_collector, end)()
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(any_own_collector.url, timeout=5)
    any_own_collector.start()
    assert any_own_collector.port == port
    assert any_own_collector.session(session_id)["id"] == session_id
    assert [each["id"] for each in any_own_collector.sessions()] == [session_id]


def test_nobody_else_gets_the_port_of_a_stopped_collector(own_collector):
    own_collector.stop()
    with contextlib.closing(socket.socket()) as other:
        with pytest.raises(socket.error):
            other.bind(("127.0.0.1", own_collector.port))
        with pytest.raises(socket.error):
            other.connect(("127.0.0.1", own_collector.port))
    own_collector.start()


def test_a_paused_collector_answers_when_it_is_resumed(own_collector, http):
    own_collector.pause()
    with pytest.raises(requests.exceptions.ReadTimeout):
        http.get(own_collector.url + "/health", timeout=0.3)
    own_collector.resume()
    assert http.get(own_collector.url + "/health", timeout=10).status_code == 200


def test_a_collector_with_a_key_shows_its_sessions_to_those_who_have_it(make_collector, http):
    collector = make_collector(api_key="k").start()
    assert http.get(collector.url + "/api/data/sessions", timeout=10).status_code == 401
    assert collector.sessions() == []


STRAIGHT = u"""
import sys
import requests
from tools.recorder import Recorder

class Straight(object):
    # Writes to the server with no client between, in the form that its generation takes.
    def __init__(self, url, is_v1):
        self.http, self.url, self.is_v1 = requests.Session(), url + "/api/sessions", is_v1
        self.http.trust_env = False
        self.local_id = self.post("", {"product": "p", "version": "1"}).json()["session_id"]
    def post(self, path, body):
        answer = self.http.post(self.url + path, json=body, timeout=10)
        answer.raise_for_status()
        return answer
    def log_event(self, name, data=None, **extras):
        if not self.is_v1:
            data = dict(data, **dict(("_" + key, value) for key, value in extras.items()))
        self.post("/%s/events" % self.local_id, dict(extras, name=name, data=data))
    def log_metric(self, name, value, tags=None, **extras):
        if not self.is_v1:
            tags = tags + ["%s:%s" % pair for pair in extras.items()]
        body = dict(extras, name=name, value=value, tags=tags)
        self.post("/%s/metrics" % self.local_id, body)
    def update_state(self, state):
        body = {"timestamp": "2026-01-02T03:04:05Z", "state": state} if self.is_v1 else state
        self.post("/%s/state" % self.local_id, body)
    def log_exception(self, extra_data=None, exc_info=None):
        error = sys.exc_info()[1]
        self.log_event("exception", dict(
            extra_data, type=type(error).__name__, message=str(error), traceback="..."))

for each in range(2):
    session = Straight(sys.argv[2], sys.argv[3] == "v1")
    recorder = Recorder(session, sys.argv[1], "w%d" % each)
    for number in range(10):
        recorder.log_event("e", {"n": number / 3.0}, category="warning", labels=["l"])
        recorder.log_metric("m", number, ["a:b"], unit="s")
        recorder.update_state({"n": number, "deep": {"n%d" % (number % 3): [number, None, True]}})
        recorder.log_exception(ValueError(u"odd"), {"n": number})
    recorder.update_state({"deep": {"n1": None}})
"""


def test_the_invariants_hold_for_real_collectors(any_collector, tmp_path):
    generation = "classic" if any_collector.classic else "v1"
    with Application(STRAIGHT, tmp_path, [any_collector.url, generation]) as application:
        application.wait()
    sessions = set(call.session for call in read_accepted([application.accepted]).values())
    held = [any_collector.session(each) for each in sorted(sessions)]
    report = check_invariants([application.accepted], held)
    assert len(report.arrived) == report.accepted == 82
    held[0]["state"]["n"] = -1
    assert len(compare([application.accepted], held).deviations["different"]) == 1


def test_a_collectors_listing_has_whole_sessions(any_fresh_collector, http):
    session_id = create(any_fresh_collector.url, http)
    assert any_fresh_collector.sessions() == [any_fresh_collector.session(session_id)]


def test_any_collector_is_of_both_generations(any_collector, http):
    status = http.get(any_collector.url + "/health", timeout=10).status_code
    assert status == (404 if any_collector.classic else 200)
