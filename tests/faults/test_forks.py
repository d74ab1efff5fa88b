"""Fork (19): no child hangs, and none ends its parent's session or harms its outbox."""

from __future__ import absolute_import, division

import os
import sys

import pytest
from tools.call_times import SICK_DISK, check_calls
from tools.host import (
    OWN,
    application,
    await_delivery,
    await_word,
    check_order_by_writer,
    deliver_what_is_left,
    events_of,
    said,
    tell,
)
from tools.invariants import read_accepted
from tools.report import LOSSES
from tools.waiting import wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

# The exception that leaves an inherited `with` block is logged, without a mark.
LEFT_BY = OWN | frozenset(["exception"])

# Forks up to four children at a time.  Meanwhile threads log to this session now and then, and
# all the time to one whose server is away, so that forks find them inside sqlite: it goes on
# forking until half as many as asked for have.
FORKS = u"""
if not hasattr(os, "register_at_fork"):
    # Before 3.7, logging's own locks do not survive a fork (bpo-6721).
    logging.getLogger("datacat").addHandler(logging.NullHandler())
    logging.getLogger("datacat").propagate = False
count, known = int(sys.argv[3]), sys.argv[4] == "known"
# A thread inside sqlite may have to wait for a processor; it does not hang.
from datacat.process import fork as hooks
hooks.FREEZE_SECONDS = 60.0
session = open_session(connect_wait=120 if known else 0)
assert (session.session_id != session.local_id) == known, "the server's id is not as wanted"
elsewhere = datacat.create_session("http://127.0.0.1:9", product="elsewhere", version="1",
                                   connect_wait=0, max_bytes=1 << 20, spool_dir="elsewhere")
from datacat.process import registry
(outbox,) = [each.outbox for each in registry.pipelines() if each.settings.product == "elsewhere"]
stopping, struck = [], []

def is_somebody_inside():
    if outbox.lock.acquire(False):
        outbox.lock.release()
        return False
    return True

def note_whether_it_strikes():
    # Called before the library's own hook, which waits for whoever is inside.
    if is_somebody_inside():
        struck.append(os.getpid())

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=note_whether_it_strikes)

def await_somebody_inside():
    while not is_somebody_inside():
        time.sleep(0)

def log_on(writer):
    recorder = recorder_of(session, writer)
    while not stopping:
        recorder.log_event("parent", {"text": "x" * 100})
        for _ in range(200):
            elsewhere.log_event("unrecorded", {"text": "x" * 100})
            time.sleep(0.001)

loggers = [threading.Thread(target=log_on, args=("p%d" % each,)) for each in range(3)]
for logger in loggers:
    logger.start()

def be_a_child(number):
    # The children of a session that the server does not know open sessions of their own.
    label = None if known else "child %d" % os.getpid()
    recorder = Recorder(session, ACCEPTED + ".children", "c", label=label)
    with session:
        recorder.log_event("child", {"number": number})
        recorder.log_metric("forks", number)
        if session.stats()["in_memory"]:
            say("only in memory", number=number)
        if number % 3 == 0:
            os._exit(0)
        if number % 3 == 1:
            sys.exit(0)
        raise KeyError("through the inherited with")

living, hung = {}, []

def reap(most):
    while len(living) > most:
        pid = os.waitpid(-1, os.WNOHANG)[0]
        living.pop(pid, None)
        for pid in [pid for pid, until in living.items() if time.time() > until]:
            hung.append(pid)
            del living[pid]
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)

forks = 0
while forks < count or len(struck) < count // 2 and hasattr(os, "register_at_fork"):
    await_somebody_inside()
    pid = os.fork()
    if not pid:
        sys.stderr = open(os.devnull, "w")
        be_a_child(forks)
    forks += 1
    living[pid] = time.time() + 120
    reap(3)
reap(0)
stopping.append(True)
for logger in loggers:
    logger.join()
say("forked", hung=len(hung), forks=forks)
wait_for("finish")
recorder_of(session, "last").log_event("after all forks")
session.end(120)
say("ended", **session.stats())
"""


def start_forking(folder, collector, spool, count, known):
    return application(
        FORKS,
        folder,
        collector.url,
        (count, "known" if known else "unknown"),
        env={"DATACAT_SPOOL_DIR": str(spool)},
    ).start()


def files_of(app):
    """Return the accepted file of the parent, and that of its children."""
    return [app.accepted, app.accepted + ".children"]


def await_forks(app, timeout):
    """Return how many times the application forked; check that no child hung."""
    forked = await_word(app, "forked", timeout)
    assert not forked["hung"], forked
    return forked["forks"]


def kept_in_memory(app):
    """Return the numbers of the children that kept records only in memory, and lost them.

    Only on a Python without fork hooks, where a child may find sqlite in use.
    """
    numbers = set(each["number"] for each in said(app, "only in memory"))
    assert not numbers or not hasattr(os, "register_at_fork"), numbers
    assert len(numbers) <= said(app, "forked")[0]["forks"] // 2, numbers
    return numbers


def is_untouched(session):
    return session.get("ended_at") is None and session["active"] and not session["crashed"]


def parents_of(app, sessions):
    """Return the sessions in which the parent logged, and the others."""
    with_parent = [
        each
        for each in sessions
        if any(event["name"] == "parent" for event in each["events"] or ())
    ]
    return with_parent, [each for each in sessions if each not in with_parent]


def test_children_log_to_the_inherited_session_and_neither_end_nor_crash_it(
    own_collector, spool, tmp_path, scaled
):
    """Fork: no child hangs, loses a record, or ends or crashes its parent's session."""
    with start_forking(tmp_path, own_collector, spool, scaled(60, 2000), known=True) as app:
        count = await_forks(app, scaled(600, 7200))
        (session,), _ = parents_of(app, own_collector.sessions())
        assert is_untouched(session)
        tell(tmp_path, "finish")
        app.wait(180)
        ended = said(app, "ended")[0]
    # Parent and children write to one session, so that only each writer's records have an order.
    calls = len(read_accepted(files_of(app)))
    in_vain = kept_in_memory(app).intersection(range(0, count, 3))
    report = deliver_what_is_left(
        own_collector,
        files_of(app),
        tmp_path,
        scaled(120, 600),
        allow={"out_of_order": calls, "lost": 2 * len(in_vain)},
        own=LEFT_BY,
    )
    assert report.own["exception"] == len(range(2, count, 3))
    assert not any(ended[loss] for loss in LOSSES), ended
    assert sum(call.fields["name"] == "child" for call in report.calls.values()) == count
    check_order_by_writer(own_collector.sessions())
    assert not report.own["session_crashed_detected"]
    check_calls(files_of(app), SICK_DISK)


def test_children_of_a_session_unknown_to_the_server_open_their_own(
    make_collector, spool, tmp_path, scaled
):
    """Fork: without a server nothing is lost, and a child's session names its parent's."""
    collector = make_collector().start()
    collector.stop()
    with start_forking(tmp_path, collector, spool, scaled(24, 600), known=False) as app:
        count = await_forks(app, scaled(600, 7200))
        collector.start()
        tell(tmp_path, "finish")
        app.wait(180)
    # A child that exits by os._exit leaves its session without a goodbye.  One with records only
    # in memory loses them either way, because the server came later.
    in_vain = kept_in_memory(app)
    cut_off = set(range(0, count, 3)) - in_vain
    report = deliver_what_is_left(
        collector,
        files_of(app),
        tmp_path,
        scaled(120, 600),
        own=LEFT_BY,
        allow={"lost": 2 * len(in_vain)},
        until=lambda: len(crashed_processes(collector)) >= len(cut_off),
    )
    origins = set(
        each["forked_from"] for each in events_of(collector.sessions(), "session_forked")
    )
    parents = [call.session for call in report.calls.values() if call.fields["name"] == "parent"]
    assert origins == set(parents)
    assert len(events_of(collector.sessions(), "session_forked")) == count - len(in_vain)
    assert report.own["exception"] == len(set(range(2, count, 3)) - in_vain)
    crashed = crashed_processes(collector)
    assert len(set(crashed)) == len(crashed) == len(cut_off)
    check_calls(files_of(app), SICK_DISK)


def crashed_processes(collector):
    """Return the processes that the client reported as crashed."""
    return [each["process"] for each in events_of(collector.sessions(), "session_crash_report")]


DAEMON = u"""
session = open_session(connect_wait=120)
recorder = recorder_of(session)
for number in range(20):
    recorder.log_event("before", {"number": number})
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
say("daemon", pid=os.getpid())
for number in range(100):
    recorder.log_event("in the daemon", {"number": number})
say("delivered", flushed=session.flush(120))
"""


def test_a_daemonizing_process_continues_in_its_grandchild(own_collector, spool, tmp_path):
    """Fork: what a daemon logs before and after its two forks arrives."""
    with application(
        DAEMON, tmp_path, own_collector.url, env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        app.wait()
        wait_until(lambda: said(app, "delivered"))
        assert said(app, "delivered") == [{"flushed": True}]
        daemon = said(app, "daemon")[0]["pid"]
        wait_until(lambda: not os.path.exists("/proc/%d" % daemon))
    report = deliver_what_is_left(
        own_collector, [app.accepted], tmp_path, allow={"out_of_order": 120}
    )
    assert report.accepted == 120
    check_order_by_writer(own_collector.sessions())
    check_calls([app.accepted], SICK_DISK)


MULTIPROCESSING = u"""
import multiprocessing

def work(number):
    # What spawn starts imports this file anew; what fork starts inherits the session.
    session = globals().get("session") or open_session(connect_wait=120)
    label = "process %d" % os.getpid() if spawned else None
    recorder_of(session, "m%d" % number, label=label).log_event("work", {"number": number})
    return session.flush(120)

spawned = sys.argv[3] == "spawn"
if __name__ == "__main__":
    session = None if spawned else open_session(connect_wait=120)
    context = multiprocessing.get_context(sys.argv[3])
    with context.Pool(4) as pool:
        flushed = pool.map(work, range(40), chunksize=1)
        pool.close()
        pool.join()
    say("worked", flushed=all(flushed))
"""


@pytest.mark.skipif(
    sys.version_info < (3,), reason="multiprocessing has contexts since Python 3.4"
)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_multiprocessing_deliver_what_they_log(
    own_collector, spool, tmp_path, method
):
    """Fork: pools of both kinds lose nothing; fork shares the session, spawn does not."""
    with application(
        MULTIPROCESSING,
        tmp_path,
        own_collector.url,
        (method,),
        env={"DATACAT_SPOOL_DIR": str(spool)},
    ) as app:
        app.wait(180)
        assert said(app, "worked") == [{"flushed": True}]
    report = await_delivery(own_collector, [app.accepted], allow={"out_of_order": 40, "split": 4})
    assert report.accepted == 40
    check_calls([app.accepted], SICK_DISK)
