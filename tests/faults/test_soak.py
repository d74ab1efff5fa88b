"""24 hours in small (36): a high rate, faults at random, and everything flat at the end."""
from __future__ import absolute_import, division

import random
import time

import pytest
from tools.call_times import SICK_DISK, check_bounds
from tools.host import (
    application,
    await_word,
    deliver_what_is_left,
    said,
    tell,
)

from datacat._compat import monotonic

# A session a minute, because a write costs these servers time in proportion to a session's size.
SOAK = u"""
def measure():
    with open("/proc/self/statm") as stream:
        memory = int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    spool = os.environ["DATACAT_SPOOL_DIR"]
    return {"memory": memory, "threads": threading.active_count(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "files": sum(os.path.getsize(os.path.join(spool, name)) for name in os.listdir(spool)
                         if not name.endswith("-reserve"))}

until = time.time() + float(sys.argv[3])
turn, recorder = 0, recorder_of(None)
while time.time() < until:
    turn += 1
    session = open_session()
    recorder.session = session
    ends = time.time() + float(sys.argv[4])
    number = 0
    while time.time() < ends:
        number += 1
        recorder.log_event("step", {"number": number, "text": "x" * 200})
        recorder.log_metric("load", number)
        if number % 10 == 0:
            recorder.update_state({"number": number})
        time.sleep(0.02)
    session.end(0.1)
    if turn == 2:
        say("early", **measure())
say("finished")
wait_for("calm", 600)
last = open_session()
until = time.time() + 300
while last.stats()["waiting"] and time.time() < until:
    time.sleep(0.2)
last.flush(60)
time.sleep(3)
say("late", **measure())
last.end(30)
"""


def strike(chance, collector):
    """Make one fault and end it; return its name."""
    fault = chance.choice(["killed", "paused", "stopped"])
    if fault == "paused":
        collector.pause()
        time.sleep(chance.uniform(0.5, 12))
        collector.resume()
        return fault
    getattr(collector, {"killed": "kill", "stopped": "stop"}[fault])()
    time.sleep(chance.uniform(0.5, 8))
    collector.start()
    return fault


def test_a_soak_leaves_memory_threads_descriptors_and_files_flat(
        make_collector, spool, tmp_path, scaled):
    """Long runs: after 20 minutes of faults all has arrived once, and nothing has grown."""
    seconds = scaled(0, 1200)
    if not seconds:
        pytest.skip("the soak takes 20 minutes: pytest tests/faults --long")
    chance, collector, struck = random.Random(36), make_collector().start(), []
    with application(SOAK, tmp_path, collector.url, (seconds, 30),
                     env={"DATACAT_SPOOL_DIR": str(spool)}) as app:
        until = monotonic() + seconds
        while monotonic() < until:
            time.sleep(chance.uniform(2, 15))
            struck.append(strike(chance, collector))
        await_word(app, "finished", 120)
        tell(tmp_path, "calm")
        late = await_word(app, "late", 600)
        app.wait(60)
    early = said(app, "early")[0]
    assert len(struck) > 40 and set(struck) == set(["killed", "paused", "stopped"])
    assert late["memory"] < early["memory"] + 15 * 1024 * 1024, (early, late)
    assert late["threads"] <= early["threads"] and late["descriptors"] <= early["descriptors"] + 2
    assert late["files"] < 2 * 1024 * 1024, late
    deliver_what_is_left(collector, [app.accepted], tmp_path, 600)
    check_bounds([app.accepted], SICK_DISK)
