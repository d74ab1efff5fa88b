"""`environment=True`: what the program runs on is in the state, without names."""

from __future__ import absolute_import, division

import collections
import json
import os
import platform
import sys

import pytest

from datacat.process import environment
from datacat.testing.session import RecordingSession

Uname = collections.namedtuple("Uname", "sysname nodename release version machine")


def test_the_state_tells_python_and_system_if_that_is_wanted(fresh_collector, open_session):
    session = open_session(fresh_collector.url, environment=True)
    session.update_state({"mine": 1})
    state = session.get_details(60)["state"]
    assert state["mine"] == 1
    told = state["environment"]
    assert told == json.loads(json.dumps(environment.facts()))
    assert platform.python_version().startswith(told["python"])
    assert told["frozen"] is False and told["implementation"] and told["os"] and told["locale"]


def test_by_default_it_tells_nothing():
    assert RecordingSession().state == {}


def test_before_record_sees_it():
    seen = []

    def before_record(kind, fields):
        seen.append((kind, fields))
        return fields if kind == "open" else None

    session = RecordingSession(environment=True, before_record=before_record)
    assert [kind for kind, _ in seen] == ["open", "state"]
    assert list(seen[1][1]) == ["environment"] and session.state == {}


def test_it_names_neither_people_nor_machines(monkeypatch):
    secret = u"zzyzx"
    for variable in ("HOME", "USER", "LOGNAME", "USERNAME", "USERPROFILE", "HOSTNAME", "LANG"):
        monkeypatch.setenv(variable, str("/home/" + secret))
    # A kernel that somebody has built.
    uname = Uname("Linux", secret, "6.1.7-" + secret, "#1 by " + secret, "x86_64")
    monkeypatch.setattr(os, "uname", lambda: uname, raising=False)
    told = environment.facts()
    assert secret not in json.dumps(told)
    assert (told["os"], told["os_release"], told["architecture"]) == ("Linux", "6.1.7", "x86_64")


def test_a_frozen_program_says_so(monkeypatch):
    monkeypatch.setattr(sys, "frozen", "macosx_app", raising=False)
    assert environment.facts()["frozen"] is True


@pytest.mark.skipif(hasattr(sys, "getwindowsversion"), reason="this is Windows")
def test_on_windows_there_is_another_source(monkeypatch):
    monkeypatch.delattr(os, "uname", raising=False)
    monkeypatch.setattr(sys, "getwindowsversion", lambda: (10, 0, 19045, 2, ""), raising=False)
    told = environment.facts()
    assert (told["os"], told["os_release"]) == ("Windows", "10.0.19045")
