"""`monitor_process`: gauges of this process at even intervals, as long as the session lives."""

from __future__ import absolute_import, division

import collections
import json
import os
import sys

import pytest
from inside import pipelines_of
from tools.waiting import wait_until

from datacat.process.monitor import ProcessMonitor
from datacat.records import redaction
from datacat.settings import resolve

GAUGES = ["process_cpu", "process_descriptors", "process_memory", "process_threads"]


class Used(object):
    """A process that uses as much as the test says."""

    cpu = 0.0

    def cpu_seconds(self):
        return self.cpu

    def read(self):
        return {"process_memory": (1024, "bytes")}


@pytest.fixture
def used():
    return Used()


def fields(bodies):
    """Return {name: fields} of some gauges."""
    gauges = [json.loads(body.decode("ascii")) for body in bodies]
    return dict((gauge["name"], gauge) for gauge in gauges)


def test_it_measures_at_even_intervals_however_late_it_is_called(used):
    monitor = ProcessMonitor(used, 15.0, 100.0)
    assert monitor.due == 115.0 and monitor.measure(114.9) == []
    dues = []
    for now in (115.2, 130.1, 145.0, 200.0, 205.0):
        assert monitor.measure(now)
        dues.append(monitor.due)
    assert dues == [130.0, 145.0, 160.0, 205.0, 220.0]


def test_cpu_is_the_percentage_of_one_processor_since_the_last_time(used):
    monitor = ProcessMonitor(used, 10.0, 0.0)
    used.cpu = 5.0
    assert fields(monitor.measure(10.0))["process_cpu"]["value"] == 50
    used.cpu = 45.0
    gauge = fields(monitor.measure(30.0))["process_cpu"]
    assert gauge == {"name": "process_cpu", "value": 200, "type": "gauge", "unit": "percent"}


def test_before_record_sees_the_gauges_and_may_drop_them(used):
    monitor = ProcessMonitor(used, 10.0, 0.0, tags=["a"])

    def before_record(kind, fields):
        assert kind == "metric" and fields["tags"] == ["a"]
        return None if fields["name"] == "process_cpu" else dict(fields, unit="kB")

    settings = resolve(before_record=before_record)
    found = fields(monitor.measure(10.0, redaction.make(settings, None)))
    assert list(found) == ["process_memory"] and found["process_memory"]["unit"] == "kB"


def test_it_measures_nothing_once_it_is_stopped(used):
    with ProcessMonitor(used, 10.0, 0.0) as monitor:
        assert monitor.is_running
    assert not monitor.is_running and monitor.measure(100.0) == []
    monitor.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_not_measured(used):
    monitor = ProcessMonitor(used, 10.0, 0.0)
    child = os.fork()
    if not child:
        os._exit(int(monitor.is_running))
    assert os.waitpid(child, 0)[1] == 0
    assert monitor.is_running


def test_without_psutil_the_error_says_what_to_install(open_session, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    session = open_session("http://127.0.0.1:1", connect_wait=0)
    with pytest.raises(ImportError) as caught:
        session.monitor_process()
    assert "pip install 'datacat-client[process]'" in str(caught.value)


def test_the_gauges_arrive_until_the_session_is_over(fresh_collector, open_session):
    pytest.importorskip("psutil")
    session = open_session(fresh_collector.url)
    monitor = session.monitor_process(interval=0.05)
    wait_until(lambda: session.stats()["sent"] > 2 * len(GAUGES))
    session.end()
    assert monitor.is_running, "it was not told to stop"
    metrics = session.get_details(60)["metrics"]
    counts = collections.Counter(metric["name"] for metric in metrics)
    assert sorted(counts) == GAUGES and set(counts.values()) == {len(metrics) // len(GAUGES)}
    (here,) = [each for each in metrics[:4] if each["name"] == "process_memory"]
    assert here["value"] > 1 << 20
    accepted = session.stats()["sent"]
    session.close()
    session.monitor_process(interval=0.01)
    wait_until(lambda: not pipelines_of(base_url=fresh_collector.url))
    assert session.stats()["sent"] == accepted
