"""Bounds (13, 14): the cap, the limits of the system."""
from __future__ import absolute_import, division

from tools.call_times import SICK_DISK, check_bounds
from tools.host import (
    OWN,
    application,
    await_delivery,
    await_word,
    events_of,
    said,
    tell,
    warnings_of,
)
from tools.invariants import compare

LOSSES = ("dead", "dropped", "merged", "possibly_twice")

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

def log(name, count, size):
    for number in range(count):
        recorder.log_event(name, {"number": number, "text": "x" * size})
        time.sleep(0.005)

log("before", 20, 100)
session.flush(10)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = getattr(resource, sys.argv[3])
hard = resource.getrlimit(limit)[1]
say("ready")
wait_for("limit")
%s
resource.setrlimit(limit, (hard, hard))
say("flushed", flushed=session.flush(30), **session.stats())
log("after", 10, 100)
session.end(20)
say("ended", **session.stats())
"""

NO_LARGER_FILE = u"""
soft = max(os.path.getsize(os.path.join(folder, name))
           for folder, _, names in os.walk("spool") for name in names
           if not name.endswith("-reserve")) + 2000
resource.setrlimit(limit, (soft, hard))
log("limited", 200, 300)
say("limited", **session.stats())
"""

NO_DESCRIPTOR = u"""
def wait_until(condition, patience=20):
    end = time.time() + patience
    while not condition() and time.time() < end:
        time.sleep(0.05)

log("limited", 100, 300)
# Its connection is broken, so that it has no descriptor any more.
wait_until(lambda: session.stats()["online"] is False)
free = os.open(os.devnull, os.O_RDONLY)
os.close(free)
resource.setrlimit(limit, (free, hard))
say("limited")
log("limited", 100, 300)
wait_until(lambda: "Too many open files" in (session.stats()["last_error"] or ""))
say("felt", **session.stats())
"""

NO_MEMORY = u"""
class Starving(object):
    # Takes all memory for as long as a call lasts, so that the recorder itself has some.
    local_id = session.local_id

    def log_event(self, name, data):
        taken = take_all()
        try:
            session.log_event(name, data)
        finally:
            del taken[:]

def take_all():
    # But for a little, without which the interpreter itself breaks down.
    spare, taken, size = bytearray(50000), [], 1 << 22
    while size >= 1 << 10:
        try:
            taken.append(bytearray(size))
        except MemoryError:
            size //= 2
    del spare
    return taken

with open("/proc/self/statm") as stream:
    soft = int(stream.read().split()[0]) * resource.getpagesize() + (2 << 20)
resource.setrlimit(limit, (soft, hard))
recorder.session = Starving()
for size in (100, 3000, 60000, 100000):
    log("limited", 30, size)
recorder.session = session
say("limited", **session.stats())
# The library's own threads are to be short of it, too.
for _ in range(3):
    log("in between", 10, 2000)
    taken = take_all()
    time.sleep(1)
    del taken[:]
"""


def run_limited(limit, program, folder, url, meanwhile=None):
    """Run an application under a limit of the system to its end; return it.

    meanwhile: a callable (application) that lets it go on; without one it just goes on.
    """
    env = {"DATACAT_SPOOL_DIR": str(folder / "spool"), "MALLOC_ARENA_MAX": "1"}
    with application(LIMITED % program, folder, url, (limit,), env=env) as app:
        await_word(app, "ready")
        if meanwhile is None:
            tell(folder, "limit")
        else:
            meanwhile(app)
        app.wait(90)
    assert "Traceback" not in app.output, app.output
    assert said(app, "flushed")[0]["flushed"], said(app, "flushed")
    check_bounds([app.accepted])
    return app


def check_nothing_lost(app, collector):
    """Check that all came, once, and that nothing was given up."""
    assert await_delivery(collector, [app.accepted]).accepted == 230
    assert not any(said(app, "ended")[0][name] for name in LOSSES)


def test_a_file_that_may_not_grow_is_neither_raised_nor_a_reason_to_lose(
        own_collector, tmp_path):
    """Never in the way: what has no room in the file waits in memory, and all comes."""
    app = run_limited("RLIMIT_FSIZE", NO_LARGER_FILE, tmp_path, own_collector.url)
    assert said(app, "limited")[0]["in_memory"] > 0, "the limit was not felt"
    assert len(warnings_of(app, "WARNING datacat could not")) == 1, app.output
    check_nothing_lost(app, own_collector)


def test_no_free_descriptor_is_neither_raised_nor_a_reason_to_lose(
        own_collector, v1_proxy, tmp_path):
    """Never in the way: neither a sync nor a connection can be had, and all comes later."""
    def take_the_connection_away(app):
        v1_proxy.refuse()
        tell(tmp_path, "limit")
        await_word(app, "limited")
        v1_proxy.heal()

    app = run_limited("RLIMIT_NOFILE", NO_DESCRIPTOR, tmp_path, v1_proxy.url,
                      take_the_connection_away)
    assert "Too many open files" in said(app, "felt")[0]["last_error"]
    unsynced, = warnings_of(app, "cannot be synced")
    assert "Too many open files" in unsynced
    check_nothing_lost(app, own_collector)


def test_no_memory_is_not_raised_and_each_record_it_costs_is_counted(own_collector, tmp_path):
    """Never silent: a record that cannot be encoded for want of memory is counted and told."""
    app = run_limited("RLIMIT_AS", NO_MEMORY, tmp_path, own_collector.url)
    limited, ended = said(app, "limited")[0], said(app, "ended")[0]
    assert limited["dropped"] > 10, "the limit was not felt: %s" % limited
    assert ended["dead"] == ended["merged"] == 0
    # A read-back needs memory as well; three that get none are the last.
    report = await_delivery(own_collector, [app.accepted], allow={
        "lost": ended["dropped"], "twice": ended["possibly_twice"]})
    assert report.accepted == 20 + 120 + 30 + 10
    assert len(report.deviations["lost"]) == ended["dropped"]
    told = events_of(own_collector.sessions(), "datacat_records_dropped")
    assert sum(each["count"] for each in told) == ended["dropped"]
