"""Bounds (13, 14): the cap on an outbox, limits of the operating system."""

from __future__ import absolute_import, division

import pytest
from tools.call_times import check_calls
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
from tools.report import LOSSES

# The cap

CAPPED = u"""
states, metrics, events, exceptions, max_bytes = map(int, sys.argv[3:])
session = open_session(connect_wait=0, max_bytes=max_bytes)
recorder = recorder_of(session)
text = "x" * 4000
# Not the oldest record, which may be in flight, or records next to it.
recorder.log_event("first")
for number in range(states):
    recorder.update_state({"number": number, "parts": {"p%d" % (number % 5): text}})
for number in range(metrics):
    recorder.log_metric("load", number, tags=[text])
for number in range(events):
    recorder.log_event("step", {"number": number, "text": text})
for number in range(exceptions):
    recorder.log_exception(ValueError("v"), {"number": number, "text": text})
recorder.update_state({"parts": {"p0": "last"}})
session.end(0)

def size():
    return sum(os.path.getsize(os.path.join("spool", name))
               for name in os.listdir("spool") if name.endswith(".outbox"))

# The keeper looks at the spool once more.
until = time.time() + 60
while size() > 1.5 * max_bytes and time.time() < until:
    time.sleep(0.1)
say("logged", size=size())
wait_for("served")
say("flushed", flushed=session.flush(300), **session.stats())
"""

CAP = 1 << 20


def lost_by_kind(report):
    """Return {kind: (how many were lost, how many were logged)}; check that the oldest went."""
    lost = {}
    for kind in ("state", "metric", "event", "exception"):
        gone = [
            call.mark not in report.arrived
            for call in report.calls.values()
            if call.kind == kind and call.fields.get("name") != "first"
        ]
        lost[kind] = sum(gone), len(gone)
        assert gone == sorted(gone, reverse=True), "the %ss that went were not the oldest" % kind
    return lost


@pytest.mark.parametrize(
    "amounts, all_went, some_went",
    [
        ((300, 20, 20, 20), [], None),
        ((20, 150, 150, 10), [], "metric"),
        ((20, 100, 350, 20), ["metric"], "event"),
        ((20, 50, 100, 350), ["metric", "event"], "exception"),
    ],
    ids=["states merge", "metrics go", "events go", "exceptions go"],
)
def test_at_the_cap_the_least_important_records_go_first_and_are_counted(
    make_collector, generation, tmp_path, scaled, amounts, all_went, some_went
):
    """Never silent: records go in the order of sacrifice, the oldest first; the state is right."""
    server = make_collector(classic=generation == "classic").start()
    server.stop()
    factor = scaled(1, 4)
    arguments = [amount * factor for amount in amounts] + [CAP * factor]
    with application(
        CAPPED, tmp_path, server.url, arguments, env={"DATACAT_SPOOL_DIR": str(tmp_path / "spool")}
    ) as app:
        assert await_word(app, "logged")["size"] <= 1.5 * CAP * factor, "it grew past its cap"
        server.start()
        tell(tmp_path, "served")
        app.wait(400)
    flushed = said(app, "flushed")[0]
    assert flushed["flushed"] and flushed["merged"] > 0
    assert flushed["dead"] == flushed["possibly_twice"] == 0
    report = compare([app.accepted], server.sessions(), OWN)
    assert [kind for kind in report.excess({}) if kind not in ("lost", "merged")] == [], report
    check_sacrifice(lost_by_kind(report), all_went, some_went)
    # A classic server has no history to count in, and loss reports are merged too.
    assert server.classic or 0 < len(report.deviations["merged"]) <= flushed["merged"]
    # Counted by what the server has, not by what the client says.
    told = sum(each["count"] for each in events_of(server.sessions(), "datacat_records_dropped"))
    assert told == len(report.deviations["lost"]) == flushed["dropped"]
    (session,) = server.sessions()
    assert session["ended_at"], "the end went too"
    check_calls([app.accepted])


def check_sacrifice(lost, all_went, some_went):
    for kind, (gone, logged) in lost.items():
        if kind in all_went:
            assert gone == logged, lost
        elif kind == some_went:
            assert 0 < gone < logged, lost
        else:
            assert gone == 0, lost


# Limits of the operating system

LIMITED = u"""
import resource
session = open_session(connect_wait=120)
recorder = recorder_of(session)

def log(name, count, size):
    for number in range(count):
        recorder.log_event(name, {"number": number, "text": "x" * size})
        time.sleep(0.003)

log("before", 20, 100)
session.flush(120)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = getattr(resource, sys.argv[3])
hard = resource.getrlimit(limit)[1]
say("ready")
wait_for("limit")
%s
resource.setrlimit(limit, (hard, hard))
say("flushed", flushed=session.flush(300), **session.stats())
log("after", 10, 100)
session.end(300)
say("ended", **session.stats())
"""

NO_LARGER_FILE = u"""
soft = max(os.path.getsize(os.path.join(folder, name))
           for folder, _, names in os.walk("spool") for name in names
           if not name.endswith("-reserve")) + 2000
# More than the test's own file of accepted records needs.
soft = max(soft, 256 * 1024)
resource.setrlimit(limit, (soft, hard))
felt = 0
for _ in range(20):
    log("limited", 10, 300)
    # Each second a checkpoint makes room for what is in memory.
    felt = max(felt, session.stats()["in_memory"])
say("limited", in_memory=felt)
"""

NO_DESCRIPTOR = u"""
def wait_until(condition, patience=120):
    end = time.time() + patience
    while not condition():
        assert time.time() < end, "still waiting after %s s: %s" % (patience, session.stats())
        time.sleep(0.05)

taken, warnings = [], []

class Listening(logging.Handler):
    def emit(self, record):
        warnings.append(record.getMessage())

def take_all():
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except EnvironmentError:
        return True

logging.getLogger("datacat").addHandler(Listening())
log("limited", 100, 300)
# Its connection is broken, so that it has no descriptor left.
wait_until(lambda: session.stats()["online"] is False)
resource.setrlimit(limit, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
take_all()
say("limited")
log("limited", 100, 300)
# Repeatedly: a descriptor used for a connection or a sync becomes free afterwards.
wait_until(lambda: take_all() and "Too many open files" in (session.stats()["last_error"] or "")
           and any("cannot sync" in warning for warning in warnings))
say("felt", **session.stats())
while taken:
    os.close(taken.pop())
"""

NO_MEMORY = u"""
class Starving(object):
    # Takes all memory during each call only, so that the recorder itself has some.
    local_id = session.local_id

    def log_event(self, name, data):
        taken = take_all()
        try:
            session.log_event(name, data)
        finally:
            del taken[:]

def take_all():
    # All but a little, without which the interpreter itself fails.
    spare, taken, size = bytearray(50000), [], 1 << 22
    while size >= 1 << 10:
        try:
            taken.append(bytearray(size))
        except MemoryError:
            size //= 2
    del spare
    return taken

with open("/proc/self/statm") as stream:
    soft = int(stream.read().split()[0]) * resource.getpagesize() + (8 << 20)
resource.setrlimit(limit, (soft, hard))
recorder.session = Starving()
for size in (100, 3000, 60000, 100000):
    log("limited", 30, size)
recorder.session = session
say("limited", **session.stats())
# The library's own threads get none, either.
for _ in range(3):
    log("in between", 10, 2000)
    taken = take_all()
    time.sleep(1)
    del taken[:]
"""


def run_limited(limit, program, folder, url, meanwhile=None):
    """Run an application under a limit of the operating system to its end; return it.

    meanwhile: a callable (application) that lets it continue, or None to let it run.
    """
    env = {"DATACAT_SPOOL_DIR": str(folder / "spool"), "MALLOC_ARENA_MAX": "1"}
    with application(LIMITED % program, folder, url, (limit,), env=env) as app:
        await_word(app, "ready")
        if meanwhile is None:
            tell(folder, "limit")
        else:
            meanwhile(app)
        app.wait(900)
    assert "Traceback" not in app.output, app.output
    assert said(app, "flushed")[0]["flushed"], said(app, "flushed")
    check_calls([app.accepted])
    return app


def check_nothing_lost(app, collector):
    """Check that all arrived, once, and that nothing was dropped."""
    assert await_delivery(collector, [app.accepted]).accepted == 230
    assert not any(said(app, "ended")[0][name] for name in LOSSES)


def test_a_file_that_cannot_grow_raises_nothing_and_loses_nothing(own_collector, tmp_path):
    """Never in the way: records without room in the file wait in memory, and all arrive."""
    app = run_limited("RLIMIT_FSIZE", NO_LARGER_FILE, tmp_path, own_collector.url)
    assert said(app, "limited")[0]["in_memory"] > 0, "the limit was not felt"
    assert len(warnings_of(app, "WARNING datacat could not")) == 1, app.output
    check_nothing_lost(app, own_collector)


def test_running_out_of_descriptors_raises_nothing_and_loses_nothing(
    own_collector, v1_proxy, tmp_path
):
    """Never in the way: without a sync or a connection, all arrives later."""

    def take_the_connection_away(app):
        v1_proxy.refuse()
        tell(tmp_path, "limit")
        await_word(app, "limited")
        v1_proxy.heal()

    app = run_limited(
        "RLIMIT_NOFILE", NO_DESCRIPTOR, tmp_path, v1_proxy.url, take_the_connection_away
    )
    assert "Too many open files" in said(app, "felt")[0]["last_error"]
    (unsynced,) = warnings_of(app, "cannot sync")
    assert "Too many open files" in unsynced
    check_nothing_lost(app, own_collector)


def test_running_out_of_memory_raises_nothing_and_each_lost_record_is_counted(
    own_collector, tmp_path
):
    """Never silent: a record that there is no memory to encode is counted and reported."""
    app = run_limited("RLIMIT_AS", NO_MEMORY, tmp_path, own_collector.url)
    limited, ended = said(app, "limited")[0], said(app, "ended")[0]
    assert limited["dropped"] > 10, "the limit had no effect: %s" % limited
    assert ended["dead"] == ended["merged"] == 0
    # A read-back needs memory, too; after three without any, the record is sent again.
    report = await_delivery(
        own_collector,
        [app.accepted],
        allow={"lost": ended["dropped"], "twice": ended["possibly_twice"]},
    )
    assert report.accepted == 20 + 120 + 30 + 10
    assert len(report.deviations["lost"]) == ended["dropped"]
    told = events_of(own_collector.sessions(), "datacat_records_dropped")
    assert sum(each["count"] for each in told) == ended["dropped"]
