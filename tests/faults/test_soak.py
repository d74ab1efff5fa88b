"""A long run in short (36): a high rate, random faults, and nothing grows."""

from __future__ import absolute_import, division

import json

import pytest
from tools.call_times import check_calls
from tools.fault_proxy import FaultProxy
from tools.fire import Fire
from tools.host import (
    OWN,
    application,
    await_delivery,
    await_word,
    deliver_what_is_left,
    tell,
)
from tools.invariants import check_invariants

# Once drained, the log may keep 5 MiB, the file 1 MiB, and sqlite's index of the log 64 KiB.
MOST_BYTES = 6 * 1024 * 1024 + 64 * 1024

# One run: sessions in a row, three threads in each, until it is told to be calm; then it is
# measured, continues, and is measured again.
SOAK = u"""
name, options = sys.argv[3], json.loads(sys.argv[4])
turn_seconds, pause = float(sys.argv[5]), float(sys.argv[6])
unfinished, losses = [], dict.fromkeys(["dead", "dropped", "merged", "possibly_twice"], 0)

def measure():
    gc.collect()
    with open("/proc/self/statm") as stream:
        memory = int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    spool = os.environ["DATACAT_SPOOL_DIR"]
    return {"memory": memory, "threads": threading.active_count(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "files": sum(os.path.getsize(os.path.join(spool, each)) for each in os.listdir(spool)
                         if not each.endswith("-reserve"))}

def is_behind():
    # Log as fast as the server accepts, and no more than can be drained in 30 seconds.
    return sum(each.stats()["waiting"] for each in list(unfinished)) > 600

def log_on(recorder, ends, calm):
    number = 0
    while time.time() < ends and not os.path.exists(calm):
        if is_behind():
            time.sleep(pause)
            continue
        number += 1
        recorder.log_event("step", {"number": number, "text": "x" * 100})
        recorder.log_metric("load", number)
        if number % 10 == 0:
            recorder.update_state({"numbers": {threading.current_thread().name: number}})
        time.sleep(pause)

def live_through(session, calm):
    ends = time.time() + turn_seconds
    threads = [threading.Thread(target=log_on, args=(each, ends, calm), name="logger %d" % number)
               for number, each in enumerate(recorders)]
    for each in recorders:
        each.session = session
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.end(0.1)

def forget_the_finished():
    for session in list(unfinished):
        stats = session.stats()
        if not stats["waiting"]:
            unfinished.remove(session)
            for loss in losses:
                losses[loss] += stats[loss]

def soak(phase):
    turn = 0
    while not os.path.exists("calm-" + phase):
        turn += 1
        session = open_session(**options)
        unfinished.append(session)
        live_through(session, "calm-" + phase)
        forget_the_finished()
    say("calm " + phase, turns=turn)
    while unfinished:
        forget_the_finished()
        time.sleep(0.1)
    say("drained " + phase)
    wait_for("measure-" + phase)
    # The keeper looks once a second, and shrinks what is large.
    until = time.time() + 60
    while measure()["files"] >= float(sys.argv[7]) and time.time() < until:
        time.sleep(0.5)
    say(phase, losses=losses, **measure())

# It stays open, so that the measurements never include closing and starting again.
lasting = open_session(**options)
recorders = [recorder_of(lasting, "%s-%d" % (name, number)) for number in range(3)]
soak("early")
soak("late")
"""


@pytest.fixture
def fire(own_collector, scaled):
    with FaultProxy(own_collector.port) as proxy:
        fire = Fire(
            own_collector,
            proxy,
            scaled((0.1, 0.5), (0.5, 5)),
            scaled((0.2, 1), (2, 10)),
            scaled(100, 1000),
        )
        yield fire
    own_collector.resume()


def start_soaking(name, folder, spool, fire, accepted, scaled):
    options = dict(connect_wait=0.2, timeout=3, deadline=9)
    return application(
        SOAK,
        folder,
        fire.url,
        (name, json.dumps(options), scaled(1, 5), 0.04, MOST_BYTES),
        env={"DATACAT_SPOOL_DIR": str(spool)},
        accepted=accepted,
    ).start()


def measured_in_calm(app, folder, phase, collector):
    """Let the application be calm and all records arrive in time; return its measurements.

    The server is read once, to prove what the application says: reading all that a soak leaves
    takes the server, and the proxy in this process, seconds.
    """
    tell(folder, "calm-" + phase)
    await_word(app, "calm " + phase)
    await_word(app, "drained " + phase, 600)
    check_invariants([app.accepted], collector.sessions(), own_events=OWN)
    tell(folder, "measure-" + phase)
    return await_word(app, phase)


def test_a_soak_leaves_memory_threads_descriptors_and_files_flat(
    own_collector, spool, tmp_path, scaled, fire
):
    """Long runs: after 150 faults everything has arrived once, and nothing has grown."""
    accepted = str(tmp_path / "accepted.jsonl")
    kills, until_killed = scaled((1, 2), (20, 2))
    for number in range(kills):
        with start_soaking("killed-%d" % number, tmp_path, spool, fire, accepted, scaled) as app:
            app.wait_for_accepted(20)
            fire.keep_up(until_killed)
            fire.kill(app)
    deliver_what_is_left(fire, [accepted], tmp_path, scaled(300, 600), no_losses=True)
    with start_soaking("last", tmp_path, spool, fire, accepted, scaled) as app:
        fire.keep_up(scaled(2, 15))
        early = measured_in_calm(app, tmp_path, "early", own_collector)
        fire.keep_up(*scaled((9, 9), (100, 200)))
        late = measured_in_calm(app, tmp_path, "late", own_collector)
        app.wait()
    assert fire.struck["application killed"] == kills
    assert set(fire.struck) > set(scaled((), fire.LINE + fire.SERVER))
    assert not any(late["losses"].values()), late
    assert late["memory"] < early["memory"] + 4 * 1024 * 1024, (early, late)
    assert late["threads"] == early["threads"], (early, late)
    # The connection to the server may be open or not.
    assert late["descriptors"] <= early["descriptors"] + 1, (early, late)
    assert late["files"] < MOST_BYTES, (early, late)
    deliver_what_is_left(fire, [accepted], tmp_path, no_losses=True)
    check_calls([accepted])


COME_AND_GO = u"""
def come_and_go(count):
    for number in range(count):
        with open_session(connect_wait=0) as session:
            recorder.session = session
            recorder.log_event("step", {"number": number})
            session.update_state({"text": "x" * 10000})
    recorder.session = lasting
    del session
    # Finalizers may use a released session for another second; some are forgotten at a time.
    for _ in range(4):
        time.sleep(1.2)
        recorder.log_event("lets the sender look")
        lasting.flush(10)
    gc.collect()
    # A connection of sqlite3 clears its dead weak references only when it has made 200 cursors.
    return sum(type(each) is not weakref.ref for each in gc.get_objects())

lasting = open_session(connect_wait=0)
recorder = recorder_of(lasting)
spool, count = os.environ["DATACAT_SPOOL_DIR"], int(sys.argv[3])
first = come_and_go(20)
grown = come_and_go(count) - first
say("gone", grown=grown, files=sum(os.path.getsize(os.path.join(spool, each))
                                   for each in os.listdir(spool) if each.endswith(".outbox")))
"""


def test_sessions_that_come_and_go_leave_nothing_behind(own_collector, spool, tmp_path, scaled):
    """Long runs: a session that is over and no longer referenced takes neither memory nor disk."""
    count = scaled(150, 5000)
    with application(
        COME_AND_GO, tmp_path, own_collector.url, (count,), env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        gone = await_word(app, "gone", scaled(60, 600))
        app.wait(10)
    assert gone["grown"] < count // 10, gone
    # The sessions' states, 10 kB each, would exceed it.
    assert gone["files"] <= 1024 * 1024, gone
    assert await_delivery(own_collector, [app.accepted]).accepted == count + 28
    check_calls([app.accepted])
