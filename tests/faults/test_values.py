"""Python's surprises (20, 21, 22): odd values, logging handlers, gevent."""

from __future__ import absolute_import, division

import os
import subprocess
import sys

import pytest
from tools.call_times import check_calls
from tools.host import (
    application,
    await_delivery,
    events_of,
    said,
    warnings_of,
)
from tools.process import environment
from tools.report import LOSSES

# Values that JSON lacks, and what each becomes on every Python.
ODD = u"""
import collections, datetime, decimal, uuid
try:
    import enum
except ImportError:
    enum = None
from tools.odd_values import FixedZone, Flaky, NumpyScalar, OddFloat, OddInteger, Path, Shown
from tools.odd_values import Silent, nested
nan, infinity = float("nan"), float("inf")
cycle = []
cycle.append(cycle)
values = collections.OrderedDict([
    ("datetime", datetime.datetime(2026, 1, 2, 3, 4, 5, 6)),
    ("aware", datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=FixedZone())),
    ("date", datetime.date(2026, 1, 2)), ("time", datetime.time(3, 4)),
    ("timedelta", datetime.timedelta(1, 2, 500000)), ("decimal", decimal.Decimal("1.10")),
    ("uuid", uuid.UUID(int=7)), ("bytes", b"caf\\xc3\\xa9"), ("bad bytes", b"\\xff\\xfe"),
    ("set", set([3, 1, 2])), ("tuple", (1, (2,))), ("nan", nan), ("infinity", -infinity),
    ("huge", 10 ** 400), ("exception", ValueError("v")), ("path", Path(u"/a/b")),
    ("numpy", NumpyScalar(5)), ("odd integer", OddInteger(3)), ("odd float", OddFloat(1.5)),
    ("repr", Shown()), ("silent", Silent()), ("cycle", cycle), ("deep", nested(80, 1)),
    ("surrogate", u"a\\ud800b"), ("emoji", u"\\U0001f600"), ("none", None), ("true", True),
    ("enum", enum.Enum("E", "A B").B if enum else 2), ("nothing", {}),
])
session = open_session(connect_wait=20)
session.log_event("odd", values)
session.log_event("odd keys", {1: "a", None: "b", True: "c", 2.5: "d", (1, 2): "e"})
session.log_event("flaky", Flaky(2, {"a": 1}))
changing = {"inner": {"a": [1]}}
session.log_event("as it was", changing)
changing["inner"]["a"].append(2)
changing["late"] = True
state, tags = {"was": {"list": [1]}}, ["before"]
session.update_state(state)
session.log_metric("tagged", 1, tags=tags)
state["was"]["list"].append(2)
tags.append("after")
refused, text = 0, "x" * (1 << 20)
for wrong in (lambda: session.log_event("large", {"text": text}),
              lambda: session.update_state({"text": text}),
              lambda: session.log_metric("large", 1, tags=[text]),
              lambda: session.log_event("", {}), lambda: session.log_event("e", [1]),
              lambda: session.log_metric("m", nan), lambda: session.log_metric("m", "1"),
              lambda: session.log_metric("m", 1, tags=["a", 1]),
              lambda: session.update_state([])):
    try:
        wrong()
    except datacat.InvalidArgument:
        refused += 1
session.log_exception(extra_data={"text": text},
                      exc_info=(ValueError, ValueError("v"), None))
session.log_metric("true", True)
session.log_metric("decimal", decimal.Decimal("1.5"))
say("flushed", flushed=session.flush(20), refused=refused, **session.stats())
session.end(20)
"""
EXPECTED = {
    "datetime": "2026-01-02T03:04:05.000006",
    "aware": "2026-01-02T03:04:05+05:30",
    "date": "2026-01-02",
    "time": "03:04:00",
    "timedelta": 86402.5,
    "decimal": "1.10",
    "uuid": "00000000-0000-0000-0000-000000000007",
    "bytes": u"caf\xe9",
    "set": [1, 2, 3],
    "tuple": [1, [2]],
    "nan": "NaN",
    "infinity": "-Infinity",
    "huge": "1" + "0" * 400,
    "exception": "ValueError: v",
    "path": "/a/b",
    "numpy": 5,
    "odd integer": 3,
    "odd float": 1.5,
    "repr": "<shown>",
    "cycle": ["<cycle>"],
    "emoji": u"\U0001f600",
    "none": None,
    "true": True,
    "enum": 2,
    "nothing": {},
    "surrogate": u"a\ufffdb",
    "bad bytes": u"\ufffd\ufffd",
}


def test_every_odd_value_arrives_as_documented(any_own_collector, spool, tmp_path):
    """Never in the way: no value in data makes a call raise, and all Pythons send the same."""
    with application(
        ODD, tmp_path, any_own_collector.url, env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        app.wait()
    flushed = said(app, "flushed")[0]
    assert flushed["flushed"] and flushed["refused"] == 9
    assert not any(flushed[loss] for loss in LOSSES), flushed
    sessions = any_own_collector.sessions()
    (odd,) = events_of(sessions, "odd")
    assert dict((key, odd[key]) for key in EXPECTED) == EXPECTED
    assert "<deeper than 64 levels>" in str(odd["deep"]) and odd["silent"]
    (keys,) = events_of(sessions, "odd keys")
    assert keys["null"] == "b" and keys["2.5"] == "d" and len(keys) >= 4
    assert events_of(sessions, "flaky")[0]["a"] == 1
    assert events_of(sessions, "as it was")[0]["inner"] == {"a": [1]}
    (exception,) = events_of(sessions, "exception")
    assert exception["type"] == "ValueError"
    assert sessions[0]["state"]["was"] == {"list": [1]}
    metrics = dict((each["name"], each) for each in sessions[0]["metrics"])
    assert sorted((name, each["value"]) for name, each in metrics.items()) == [
        ("decimal", 1.5),
        ("tagged", 1),
        ("true", 1),
    ]
    assert metrics["tagged"]["tags"] == ["before"]


NESTED = u"""
from hypothesis import HealthCheck, given, settings, strategies
leaves = (strategies.none() | strategies.booleans() | strategies.text(max_size=20)
          | strategies.integers(-2 ** 53, 2 ** 53)
          | strategies.floats(allow_nan=False, allow_infinity=False))
keys = strategies.text(min_size=1, max_size=8).filter(lambda key: key not in ("mark", "text"))
made = strategies.recursive(leaves, lambda inner: strategies.lists(inner, max_size=4)
                            | strategies.dictionaries(keys, inner, max_size=4), max_leaves=12)

@settings(max_examples=100, deadline=None, database=None,
          suppress_health_check=list(HealthCheck) if hasattr(HealthCheck, "__iter__") else
          HealthCheck.all())
@given(strategies.dictionaries(keys, made, max_size=5))
def log(data):
    recorder.log_event("made", data)
    recorder.update_state({"made": {"last": data}})

# A v1 server stores all states of a session at each update: start a new one after a hundred.
for turn in range(int(sys.argv[3])):
    session = open_session(connect_wait=120)
    recorder = recorder_of(session, "w%d" % turn)
    log()
    say("flushed", flushed=session.flush(300), **session.stats())
    session.end(20)
"""


def test_any_nested_data_arrives_equal(server, spool, tmp_path, scaled):
    """Once: any data that JSON can express is equal on the server."""
    rounds = scaled(1, 30)
    with application(
        NESTED, tmp_path, server.url, (rounds,), env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        app.wait(scaled(600, 3600))
    assert len(said(app, "flushed")) == rounds
    for flushed in said(app, "flushed"):
        assert flushed["flushed"] and not any(flushed[loss] for loss in LOSSES), flushed
    assert await_delivery(server, [app.accepted]).accepted >= 200 * rounds
    check_calls([app.accepted])


LOGGED = u"""
session = open_session(connect_wait=0)
recorder = recorder_of(session)
seen = []

class ToDatacat(logging.Handler):
    def emit(self, record):
        seen.append(record.name)
        recorder.log_event("logged", {"text": record.getMessage(), "logger": record.name})

logging.getLogger().addHandler(ToDatacat())
logging.getLogger().setLevel(logging.DEBUG)
for number in range(20):
    logging.getLogger("application").warning("number %d", number)
    time.sleep(0.02)
flushed = session.flush(20)
count = len(seen)
time.sleep(1.5)
# With an echo the count would grow for ever.
say("flushed", flushed=flushed, application=seen.count("application"), before=count,
    after=len(seen), own=len([name for name in seen if name.startswith("datacat")]),
    **session.stats())
session.end(20)
"""


@pytest.mark.parametrize("away", [False, True], ids=["server there", "server away"])
def test_logging_sent_to_datacat_is_not_logged_again(make_collector, spool, tmp_path, away):
    """Never in the way: what the library and urllib3 log about its requests is not recorded."""
    collector = make_collector().start()
    if away:
        collector.stop()
    with application(
        LOGGED, tmp_path, collector.url, env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        app.wait()
    flushed = said(app, "flushed")[0]
    assert flushed["application"] == 20
    assert flushed["after"] - flushed["before"] <= 2, flushed
    assert flushed["after"] <= 20 + 10, "logging to datacat makes more logging: %s" % flushed
    if not away:
        await_delivery(collector, [app.accepted])
    check_calls([app.accepted])


GEVENT = u"""
from gevent import monkey
monkey.patch_all()
import gevent
assert monkey.is_module_patched("threading") and monkey.is_module_patched("socket")
session = open_session(connect_wait=5)
recorder = recorder_of(session)

def work(name):
    each = recorder_of(session, name)
    for number in range(20):
        each.log_event("green", {"number": number})
        gevent.sleep(0.005)

gevent.joinall([gevent.spawn(work, "g%d" % number) for number in range(5)])
recorder.update_state({"green": True})
say("flushed", flushed=session.flush(120), **session.stats())
session.end(60)
"""


def test_gevent_works_when_it_patches_before_the_import(own_collector, spool, tmp_path):
    """Python: under gevent the threads are greenlets, and everything is delivered."""
    probe = subprocess.Popen(
        [sys.executable, "-c", "import gevent"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    probe.communicate()
    if probe.returncode:
        pytest.skip(
            "gevent is not installed: the extra `test` installs it on Python 3.9 and newer"
        )
    program = GEVENT.replace(u"monkey.patch_all()\n", u"")
    first = tmp_path / "sitecustomize.py"
    first.write_bytes(b"from gevent import monkey\nmonkey.patch_all()\n")
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    with application(
        program,
        tmp_path,
        own_collector.url,
        env={"DATACAT_SPOOL_DIR": str(spool), "PYTHONPATH": path},
    ) as app:
        app.wait()
    flushed = said(app, "flushed")[0]
    assert flushed["flushed"] and not any(flushed[loss] for loss in LOSSES), flushed
    assert await_delivery(own_collector, [app.accepted]).accepted == 101
    assert not warnings_of(app, "ERROR")
    check_calls([app.accepted])
