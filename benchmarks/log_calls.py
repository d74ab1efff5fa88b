"""What a log call costs the application: idle, while the sender drains, with four threads."""

from __future__ import absolute_import, division

import os
import sys
import threading
import time
from timeit import default_timer

from . import subjects
from .measuring import (
    compared,
    interleaved,
    main,
    median,
    paired,
    percentile,
    plain,
    pooled,
    rate,
    timed,
)
from .sink import Sink

A_SECOND = 2000
BACKLOG = 3000
FLOOR = "json.dumps + INSERT"


def sizes(scale):
    """Return (batches, calls per batch)."""
    return (5, 200) if scale.is_small else (40, 500)


def idle(scale, peer=None):
    """Return (batches of log_event, batches of the other), while nothing is sent.

    :param peer: the name of a peer, None for the floor.  One at a time, because the threads of
        some would disturb the calls of the others.
    """
    with subjects.folder() as path, Sink() as sink, subjects.session() as session:
        if peer is None:
            floor = subjects.Floor(os.path.join(path, "floor.db"))
            beside = lambda: floor.put(subjects.event())  # noqa: E731
        else:
            beside = subjects.PEERS[peer](path, sink.url)
        return interleaved(
            [lambda: session.log_event(subjects.NAME, subjects.DATA), beside], *sizes(scale)
        )


def event_rows(scale):
    """Return the rows of log_event with nothing to send."""
    ours, floor = idle(scale)
    rows = [
        paired("log_event, idle, p50", ours, FLOOR, floor, 1.7),
        compared(
            "log_event, idle, p99",
            percentile(pooled(ours), 99) * 1e6,
            "us",
            FLOOR,
            percentile(pooled(floor), 99) * 1e6,
            None if scale.is_small else 3.0,
        ),
    ]
    limits = {"litequeue": 0.7}
    installed = subjects.installed_peers()
    for name in installed:
        ours, theirs = idle(scale, name)
        rows.append(paired("log_event, idle, p50", ours, name, theirs, limits.get(name)))
    missing = sorted(set(subjects.PEERS).difference(installed))
    if missing:
        sys.stderr.write("left out, because not installed: %s\n" % ", ".join(missing))
    return rows


def awake_rows(scale):
    """Return the row of calls that find the sender asleep and must wake it."""
    batches, calls = sizes(scale)
    with subjects.folder() as path, Sink() as sink, subjects.session(sink.url) as session:
        floor = subjects.Floor(os.path.join(path, "floor.db"))
        ours, floors = [], []
        for _ in range(batches * calls // 40):
            time.sleep(0.01)
            ours += timed(lambda: session.log_event(subjects.NAME, subjects.DATA), 1)
            time.sleep(0.01)
            floors += timed(lambda: floor.put(subjects.event()), 1)
        return [
            paired(
                "log_event, one every 20 ms, waking the sender, p50",
                [ours],
                FLOOR + " every 20 ms",
                [floors],
            )
        ]


def while_draining(scale, threads, a_second):
    """Return (batches of log_event while the sender drains, batches of the floor idle).

    :param a_second: calls a second of all threads together, and of the floor's one thread, because
        a thread that slept finds its caches cold; None for as many as possible.
    """
    batches, calls = sizes(scale)
    ours, floors = [], []
    with subjects.folder() as path, Sink() as sink, subjects.session(sink.url) as session:
        floor = subjects.Floor(os.path.join(path, "floor.db"))
        subjects.drained(session)
        for _ in range(max(2, batches // 4)):
            floors.append(_called(lambda: floor.put(subjects.event()), 1, calls, a_second))
            _keep_busy(session)
            ours.append(
                _called(
                    lambda: session.log_event(subjects.NAME, subjects.DATA),
                    threads,
                    calls * 2,
                    a_second,
                )
            )
            subjects.drained(session)
    return ours, floors


def _keep_busy(session):
    """Give the sender more than it can send during a batch, and wait until it has begun."""
    for _ in range(BACKLOG):
        session.log_event(subjects.NAME, subjects.DATA)
    session.flush(timeout=0)


def _called(function, threads, calls, a_second):
    gathered = []
    pause = threads / a_second if a_second else 0.0
    workers = [
        threading.Thread(target=_call, args=(function, calls // threads, pause, gathered))
        for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return gathered


def _call(function, calls, pause, gathered):
    clock = default_timer
    due = clock()
    samples = []
    for _ in range(calls):
        due += pause
        left = due - clock()
        if left > 0:
            time.sleep(left)
        start = clock()
        function()
        samples.append(clock() - start)
    gathered.extend(samples)


def draining_rows(scale):
    """Return the rows of log_event while the sender drains over HTTP."""
    rows = []
    for threads, how in ((1, "1 thread flat out"), (4, "4 threads flat out")):
        ours, floors = while_draining(scale, threads, None)
        what = "log_event, draining, %s" % how
        rows.append(paired(what + ", p50", ours, "floor, idle", floors, 2.5))
        rows.append(plain(what + ", p99", percentile(pooled(ours), 99) * 1e6, "us"))
    ours, floors = while_draining(scale, 4, 2 * A_SECOND)
    rows.append(
        paired(
            "log_event, draining, 4 threads, 4,000/s, p50", ours, "floor, idle, 4,000/s", floors
        )
    )
    rows.append(
        plain(
            "log_event, draining, 4 threads, 4,000/s, p99",
            percentile(pooled(ours), 99) * 1e6,
            "us",
        )
    )
    ours, floors = while_draining(scale, 1, A_SECOND)
    what = "log_event, draining, 1 thread, 2,000/s"
    rows.append(paired(what + ", p50", ours, "floor, idle, 2,000/s", floors))
    rows.append(plain(what + ", p99", percentile(pooled(ours), 99) * 1e6, "us", 500))
    return rows


def other_rows(scale):
    """Return the rows of log_metric, update_state and heartbeat."""
    name, value, tags = subjects.METRIC
    with subjects.folder() as path, subjects.session() as session:
        floor = subjects.Floor(os.path.join(path, "floor.db"))
        metric, metric_floor, state, state_floor = interleaved(
            [
                lambda: session.log_metric(name, value, tags),
                lambda: floor.put({"name": name, "value": value, "tags": tags}),
                lambda: session.update_state(subjects.STATE),
                lambda: floor.put(subjects.STATE),
            ],
            *sizes(scale)
        )
        session.start_heartbeat_monitor()
        beats = [rate(session.heartbeat, 5000) for _ in range(20)]
        return [
            paired("log_metric, p50", metric, FLOOR, metric_floor, 1.7),
            paired("update_state (3 keys), p50", state, FLOOR, state_floor, 1.7),
            plain("heartbeat", median(beats) * 1e6, "us", 1.0),
        ]


MEASURES = (event_rows, awake_rows, draining_rows, other_rows)

if __name__ == "__main__":
    main(MEASURES)
