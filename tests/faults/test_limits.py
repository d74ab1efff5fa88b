"""Bounds (13, 14, 17): the cap, the limits of the system, a power cut."""
from __future__ import absolute_import, division

import re
import signal

import pytest
from tools.call_times import SICK_DISK, check_bounds
from tools.host import (
    OWN,
    application,
    await_word,
    copy_spool,
    deliver_what_is_left,
    events_of,
    said,
    strace,
    tell,
    warnings_of,
)
from tools.invariants import compare

from datacat._compat import monotonic

CAPPED = u"""
session = open_session(connect_wait=0, max_bytes=1 << 20)
recorder = recorder_of(session)
text = "x" * 500
for number in range(int(sys.argv[3])):
    recorder.update_state({"number": number % 7, "parts": {"p%d" % (number % 50): number}})
    recorder.log_metric("load", number, tags=[text])
    recorder.log_event("step", {"number": number, "text": text})
    if number % 50 == 0:
        recorder.log_exception(ValueError("v"), {"number": number})
time.sleep(2.5)
say("logged", size=sum(os.path.getsize(os.path.join("spool", name))
                       for name in os.listdir("spool") if name.endswith(".outbox")),
    **session.stats())
wait_for("served")
say("flushed", flushed=session.flush(60), **session.stats())
session.end(20)
"""


def lost_kinds(report):
    """Return {kind: how many accepted and not there}."""
    lost = {}
    for mark, call in report.calls.items():
        if mark not in report.arrived:
            lost[call.kind] = lost.get(call.kind, 0) + 1
    return lost


def test_at_the_cap_metrics_go_before_events_and_each_loss_is_counted(
        make_collector, tmp_path, scaled):
    """Never silent: losses are counted and reported, the merged state is right nevertheless."""
    count = scaled(700, 9000)
    collector = make_collector().start()
    collector.stop()
    with application(CAPPED, tmp_path, collector.url, (count,),
                     env={"DATACAT_SPOOL_DIR": str(tmp_path / "spool")}) as app:
        logged = await_word(app, "logged", scaled(60, 600))
        assert logged["size"] <= 1.5 * (1 << 20), "the file grew past its cap"
        assert logged["dropped"] > count / 4, "the cap was hardly reached: %s" % logged
        collector.start()
        tell(tmp_path, "served")
        app.wait(scaled(120, 1200))
    flushed = said(app, "flushed")[0]
    assert flushed["flushed"] and flushed["dead"] == 0
    report = compare([app.accepted], collector.sessions(), OWN)
    lost = lost_kinds(report)
    assert [kind for kind in report.excess({}) if kind not in ("lost", "merged")] == [], report
    # Counted by what the server holds, never by what the client says.
    reported = sum(each["count"] for each in
                   events_of(collector.sessions(), "datacat_records_dropped"))
    really_lost = sum(number for kind, number in lost.items() if kind != "state")
    assert reported == really_lost == flushed["dropped"]
    assert lost.get("metric", 0) > 0 and "exception" not in lost
    assert not lost.get("event") or lost["metric"] > 0.8 * count, lost
    assert report.deviations["merged"] == [] or flushed["merged"] > 0
    check_bounds([app.accepted], SICK_DISK, usual=0.020)


# Limits of the system

LIMITED = u"""
import resource
session = open_session(connect_wait=20)
recorder = recorder_of(session)
for number in range(20):
    recorder.log_event("before", {"number": number})
session.flush(10)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(getattr(resource, sys.argv[3]))[1]
if sys.argv[3] == "RLIMIT_NOFILE":
    soft = len(os.listdir("/proc/self/fd")) - 1
elif sys.argv[3] == "RLIMIT_FSIZE":
    soft = max(os.path.getsize(os.path.join(folder, name))
               for folder, _, names in os.walk("spool") for name in names
               if not name.endswith("-reserve")) + 2000
else:
    with open("/proc/self/statm") as stream:
        soft = int(stream.read().split()[0]) * 4096 + (1 << 20)
quiet = open(os.devnull, "w")
resource.setrlimit(getattr(resource, sys.argv[3]), (soft, hard))
for number in range(200):
    recorder.log_event("limited", {"number": number, "text": "x" * 300})
    time.sleep(0.005)
limited = session.stats()
resource.setrlimit(getattr(resource, sys.argv[3]), (hard, hard))
say("limited", soft=soft, **limited)
say("flushed", flushed=session.flush(30), **session.stats())
recorder.log_event("after")
session.end(20)
"""


@pytest.mark.parametrize("limit", ["RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_AS"])
def test_limits_of_the_system_are_neither_raised_nor_a_reason_to_lose(
        own_collector, tmp_path, limit):
    """Never in the way: no room in a file, no descriptors, no memory; calls return, all comes."""
    with application(LIMITED, tmp_path, own_collector.url, (limit,),
                     env={"DATACAT_SPOOL_DIR": str(tmp_path / "spool")}) as app:
        app.wait(90)
    limited, flushed = said(app, "limited")[0], said(app, "flushed")[0]
    if limit == "RLIMIT_FSIZE":
        assert warnings_of(app, "WARNING datacat"), "the limit was not felt: %s" % limited
    assert flushed["flushed"], flushed
    assert [flushed[name] for name in ("dead", "dropped", "merged", "possibly_twice")] == [0] * 4
    deliver_what_is_left(own_collector, [app.accepted], tmp_path, spool=tmp_path / "spool")


# A power cut

POWERED = u"""
session = open_session(connect_wait=0, durability=sys.argv[3])
recorder = recorder_of(session)
number = 0
while True:
    number += 1
    recorder.log_event("step", {"number": number})
    time.sleep(0.005)
    if os.path.exists("die"):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def synced_moments(trace):
    """Return how often the write-ahead log was synced, by strace's record."""
    with open(trace) as stream:
        return len(re.findall(r"(?:fsync|fdatasync)\(\d+<[^>]*-wal>", stream.read()))


@pytest.mark.parametrize("durability", ["process", "power"])
def test_the_log_is_synced_as_often_as_a_power_cut_may_take(
        make_collector, tmp_path, scaled, durability):
    """Power: the log is synced each second, with durability="power" before each call returns.

    That the disk keeps what was synced is the disk's promise; the next test drops the rest.
    """
    collector = make_collector().start()
    collector.stop()
    spool, trace = tmp_path / "spool", str(tmp_path / "trace")
    prefix = strace("-f", "-y", "-o", trace, "-e", "trace=fsync,fdatasync")
    with application(POWERED, tmp_path, collector.url, (durability,), prefix=prefix,
                     env={"DATACAT_SPOOL_DIR": str(spool)}) as app:
        app.wait_for_accepted(50)
        before, began = synced_moments(trace), monotonic()
        app.wait_for_accepted(50 + scaled(200, 3000))
        seconds = monotonic() - began
        tell(tmp_path, "die")
        app.wait(20, expect=-signal.SIGKILL)
    syncs = synced_moments(trace) - before
    if durability == "power":
        assert syncs >= scaled(200, 3000), "a call returned before its record was synced"
    else:
        assert syncs >= int(seconds / 1.5), "%d syncs in over %.1f s" % (syncs, seconds)
    copy = copy_spool(spool, tmp_path / "after the cut")
    collector.start()
    deliver_what_is_left(collector, [app.accepted], tmp_path, spool=copy)


def test_what_was_not_synced_is_lost_as_a_whole_tail_and_nothing_else(
        make_collector, tmp_path, scaled):
    """Power: cut back to what a sync had reached, the log gives all records before that point."""
    collector = make_collector().start()
    collector.stop()
    spool = tmp_path / "spool"
    with application(POWERED, tmp_path, collector.url, ("process",),
                     env={"DATACAT_SPOOL_DIR": str(spool)}) as app:
        app.wait_for_accepted(100)
        app.pause()
        synced = dict((path.name, path.stat().st_size) for path in spool.iterdir())
        early = app.count_accepted()
        app.resume()
        app.wait_for_accepted(early + scaled(150, 1500))
        app.kill()
    for name, size in synced.items():
        if name.endswith("-wal"):
            with open(str(spool / name), "r+b") as stream:
                stream.truncate(size)
    collector.start()
    report = deliver_what_is_left(collector, [app.accepted], tmp_path, spool=spool,
                                  allow={"lost": app.count_accepted()}, timeout=5)
    assert len(report.arrived) >= early
    marks = [mark for mark in report.calls if mark in report.arrived]
    assert marks == list(report.calls)[:len(marks)], "there is a hole before the cut"
