"""SIGKILL (8), and how each way to end is reported (34)."""

from __future__ import absolute_import, division

import os
import random
import re
import signal

import pytest
from tools.call_times import check_calls
from tools.host import (
    NEXT_RUN,
    application,
    await_word,
    deliver_what_is_left,
    events_of,
    strace,
    tell,
    traced,
)
from tools.waiting import wait_until

# Only sqlite uses these calls here, not the sockets or the accepted file.
DISK_CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", "unlink")

LIFE = u"""
session = open_session()
recorder = recorder_of(session, sys.argv[3])
for number in range(4):
    recorder.log_event("step", {"number": number})
    recorder.update_state({"step": number, "parts": {"p%d" % number: number}})
session.flush(120)
recorder.log_metric("late", 1)
session.end(120)
"""


def live(folder, collector, spool, writer, prefix=(), accepted=None):
    """Run an application to its end or its death; return the exit status."""
    with application(
        LIFE,
        folder,
        collector.url,
        (writer,),
        prefix=prefix,
        accepted=accepted,
        env={"DATACAT_SPOOL_DIR": str(spool)},
    ) as app:
        return app.wait(expect=None)


def count_disk_calls(folder, collector):
    """Return {system call: how often the busiest thread makes it}."""
    trace = os.path.join(str(folder), "trace")
    spool = os.path.join(str(folder), "counted")
    prefix = strace("-f", "-o", trace, "-e", "trace=" + ",".join(DISK_CALLS))
    assert (
        live(
            folder, collector, spool, "counted", prefix, os.path.join(str(folder), "counted.jsonl")
        )
        == 0
    )
    counts = {}
    with open(trace) as stream:
        for thread, call in re.findall(r"(?m)^(\d+) +(\w+)\(", stream.read()):
            counts.setdefault(call, {}).setdefault(thread, 0)
            counts[call][thread] += 1
    return dict((call, max(of_threads.values())) for call, of_threads in counts.items())


def test_a_kill_before_any_write_or_sync_loses_nothing(own_collector, tmp_path, scaled):
    """Accepted means kept: after a kill before any write or sync the next run delivers all."""
    counts = count_disk_calls(tmp_path, own_collector)
    moments = [(call, number + 1) for call in sorted(counts) for number in range(counts[call])]
    assert len(moments) > 30, counts
    moments = moments[:: scaled(5, 1)]
    accepted = str(tmp_path / "counted.jsonl")
    struck = 0
    for index, (call, number) in enumerate(moments):
        # Two runs per folder: the first creates the file, the second continues it.
        prefix = strace(
            "-f",
            "-o",
            os.devnull,
            "-e",
            "trace=" + call,
            "-e",
            "inject=%s:signal=SIGKILL:when=%d" % (call, number),
        )
        spool = tmp_path / ("spool-%d" % (index // 2))
        status = live(tmp_path, own_collector, spool, "life-%d" % index, prefix, accepted)
        struck += status == -signal.SIGKILL
        if index % 2 or index == len(moments) - 1:
            deliver_what_is_left(own_collector, [accepted], tmp_path, spool=spool, no_losses=True)
    # A continued file needs fewer writes, so that some runs end before they are killed.
    assert struck > len(moments) * 0.6, "%d of %d runs were killed" % (struck, len(moments))


THREADS = u"""
session = open_session(connect_wait=120, window=int(os.environ["WINDOW"]))
recorder = recorder_of(session)
session.flush(120)
time.sleep(1.1)  # mostly, the keeper has synced what there is, and rests
say("threads", ids=sorted(map(int, os.listdir("/proc/self/task"))))
wait_for("traced")
for number in range(40):
    recorder.log_event("step", {"number": number})
    time.sleep(0.002)
session.flush(120)
wait_for("never")
"""


def kill_in_thread(app, folder, which, call, number):
    """Kill an application just before one of its threads makes its `number`th `call`."""
    thread = await_word(app, "threads")["ids"][which]
    with traced(
        thread, "-e", "trace=" + call, "-e", "inject=%s:signal=SIGKILL:when=%d" % (call, number)
    ):
        tell(folder, "traced")
        return app.wait(expect=None)


# Windows are settled together, with few writes.
@pytest.mark.parametrize(
    "which, call, window, numbers",
    [
        (1, "pwrite64", 1, ([1, 4, 9], range(1, 60))),
        (1, "pwrite64", 64, ([2, 5], range(1, 10))),
        (2, "fsync", 64, ([1], [1])),
    ],
    ids=["sender settling", "sender settling windows", "keeper syncing"],
)
def test_a_kill_before_a_write_of_the_librarys_threads_makes_no_copy(
    own_collector, tmp_path, scaled, which, call, window, numbers
):
    """Once: after a kill before a delivery is noted, the next run reads back and sends no copy."""
    for number in scaled(*numbers):
        folder = tmp_path / ("life-%d" % number)
        folder.mkdir()
        with application(
            THREADS,
            folder,
            own_collector.url,
            accepted=str(tmp_path / ("accepted-%d.jsonl" % number)),
            env={"DATACAT_SPOOL_DIR": str(folder / "spool"), "WINDOW": str(window)},
        ) as app:
            assert kill_in_thread(app, folder, which, call, number) == -signal.SIGKILL
        files = [str(each) for each in tmp_path.glob("accepted-*.jsonl")]
        deliver_what_is_left(
            own_collector, files, tmp_path, spool=folder / "spool", no_losses=True
        )


ENDLESS = u"""
session = open_session(connect_wait=0.2)
recorder = recorder_of(session, sys.argv[3])
number = 0
while True:
    number += 1
    recorder.log_event("step", {"number": number})
    if number % 5 == 0:
        recorder.update_state({"step": number})
    if number > 2000:
        # Whoever is to kill it gets no processor; there is enough to deliver.
        time.sleep(0.1)
"""


def test_kills_at_random_moments_lose_nothing(any_own_collector, spool, tmp_path, scaled):
    """Accepted means kept: after SIGKILL at any time the next run continues where it stopped."""
    chance = random.Random(8)
    accepted = str(tmp_path / "accepted.jsonl")
    kills = scaled(5, 200)
    for number in range(kills):
        with application(
            ENDLESS,
            tmp_path,
            any_own_collector.url,
            ("run-%d" % number,),
            accepted=accepted,
            env={"DATACAT_SPOOL_DIR": str(spool)},
        ) as app:
            status = app.kill_after_accepted(chance.randrange(1, 120))
            assert status == -signal.SIGKILL
    deliver_what_is_left(any_own_collector, [accepted], tmp_path, scaled(300, 900), no_losses=True)
    check_calls([accepted])


# How each end is reported

ENDS = {
    "plain exit": u"pass",
    "os._exit": u"os._exit(3)",
    "close": u"session.close(5); os._exit(3)",
    "killed": u"os.kill(os.getpid(), signal.SIGKILL)",
    "terminated": u"os.kill(os.getpid(), signal.SIGTERM); time.sleep(600)",
    "end_on_signals": u"os.kill(os.getpid(), signal.SIGTERM); time.sleep(600)",
    "killed in a hang": u"""
session.start_heartbeat_monitor(timeout=0.3, check_interval=0.1)
def await_hang():
    while "KILLED" not in os.environ:
        time.sleep(30)
say("hanging")
await_hang()
""",
}
STATUS = {
    "plain exit": 0,
    "os._exit": 3,
    "close": 3,
    "killed": -signal.SIGKILL,
    "terminated": -signal.SIGTERM,
    "end_on_signals": -signal.SIGTERM,
    "killed in a hang": -signal.SIGKILL,
}

BEGINNING = u"""
options = {"end_on_signals": (signal.SIGTERM,)} if sys.argv[3] == "end_on_signals" else {}
session = open_session(connect_wait=120, **options)
recorder_of(session).log_event("working")
if sys.argv[3] != "killed in a hang":
    farewells.leave()
"""


def crashes_told_by_the_client(sessions):
    """Return the client's crash reports."""
    return events_of(sessions, "session_crash_report")


def session_of_its_own(collector):
    (session,) = [
        each
        for each in collector.sessions()
        if any(event["name"] == "working" for event in each["events"] or ())
    ]
    return session


def end_like(how, folder, collector, spool):
    with application(
        BEGINNING + ENDS[how], folder, collector.url, (how,), env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        if how == "killed in a hang":
            await_word(app, "hanging")
            wait_until(lambda: events_of(collector.sessions(), "application_appears_hung"))
            app.kill()
        # It checks that the exit did not hang, too.
        app.wait(expect=STATUS[how])
    return app


def is_as_it_will_be(session, how, reason):
    """Return whether the server knows how a run ended."""
    return how == "close" or bool(session["crashed"] if reason else session.get("ended_at"))


@pytest.mark.parametrize(
    "how, reason",
    [
        ("plain exit", None),
        ("close", None),
        ("end_on_signals", None),
        ("os._exit", "abnormal_termination"),
        ("killed", "abnormal_termination"),
        ("terminated", "abnormal_termination"),
        ("killed in a hang", "killed_while_hung"),
    ],
)
def test_each_way_to_end_is_reported_as_what_it_is(own_collector, spool, tmp_path, how, reason):
    """Crash: the next run tells a crash from an end, and a kill during a hang from other kills."""
    app = end_like(how, tmp_path, own_collector, spool)
    deliver_what_is_left(
        own_collector,
        [app.accepted],
        tmp_path,
        until=lambda: is_as_it_will_be(session_of_its_own(own_collector), how, reason),
    )
    session = session_of_its_own(own_collector)
    crashes = crashes_told_by_the_client([session])
    assert [each["reason"] for each in crashes] == ([reason] if reason else [])
    assert bool(session["crashed"]) == bool(reason)
    assert [each["hung_before"] for each in crashes] == (
        [how == "killed in a hang"] if reason else []
    )
    if not reason:
        assert bool(session.get("ended_at")) == (how != "close")


def test_a_crash_is_reported_once_whoever_finds_it(own_collector, spool, tmp_path):
    """Crash: several runs, at once and in a row, report one crash once."""
    app = end_like("killed", tmp_path, own_collector, spool)
    runs = [
        application(
            NEXT_RUN, tmp_path, own_collector.url, env={"DATACAT_SPOOL_DIR": str(spool)}
        ).start()
        for _ in range(3)
    ]
    tell(tmp_path, "finish")
    for run in runs:
        run.wait()
    deliver_what_is_left(
        own_collector,
        [app.accepted],
        tmp_path,
        until=lambda: crashes_told_by_the_client(own_collector.sessions())
        and events_of(own_collector.sessions(), "session_crashed_detected"),
    )
    found = crashes_told_by_the_client(own_collector.sessions())
    assert len(found) == 1, found
    assert len(events_of(own_collector.sessions(), "session_crashed_detected")) == 1
