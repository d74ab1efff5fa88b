"""A backlog of a million records: opening it, adding to it, draining it, its file afterwards."""

from __future__ import absolute_import, division

import os
from timeit import default_timer

from datacat import scope, settings
from datacat.outbox.outbox import Outbox
from datacat.outbox.spool import Spool
from datacat.records import build

from . import children, subjects
from .measuring import compared, main, median, paired, plain
from .sink import Sink

FILL = """
import datacat
from benchmarks import subjects
url, spool, count = sys.argv[1:]
with subjects.session(url, spool_dir=spool, connect_wait=0) as session:
    for number in range(int(count)):
        session.log_event(subjects.NAME, subjects.DATA)
        while number % 1000 == 0 and session.stats()["in_memory"]:
            time.sleep(0.01)  # queued, because a write was slow
    assert session.stats()["waiting"] >= int(count), session.stats()
print("null")
"""

# In a process of its own, so that its outbox is free when it ends.
APPEND = """
from benchmarks import measuring, subjects
url, spool, batches, calls = sys.argv[1:]
with subjects.session(url, spool_dir=spool, connect_wait=0) as full:
    with subjects.session(connect_wait=0) as empty:
        print(json.dumps(measuring.interleaved([
            lambda: full.log_event(subjects.NAME, subjects.DATA),
            lambda: empty.log_event(subjects.NAME, subjects.DATA)], int(batches), int(calls))))
"""

DRAIN = """
import datacat
from benchmarks import sink, subjects
url, spool, count = sys.argv[1:]
port = int(url.rsplit(":", 1)[1])
session = datacat.create_session(url, product="benchmark", version="1", spool_dir=spool)
subjects.drained(session)
until = sink.received(port)["requests"] + int(count)
most = children.resident_bytes()
give_up = time.time() + 300
while sink.received(port)["requests"] < until:
    assert time.time() < give_up, "the backlog is not drained: does another process have it?"
    time.sleep(0.05)
    most = max(most, children.resident_bytes())
print(json.dumps(most))
sys.stdout.flush()
os._exit(0)
"""

DRAIN_AND_WAIT = """
import datacat
from benchmarks import subjects
url, spool, name = sys.argv[1:]
session = datacat.create_session(url, product="benchmark", version="1", spool_dir=spool)
until = time.time() + 900
size = os.path.getsize(name)
while size > 1024 * 1024 and time.time() < until:
    time.sleep(1)
    size = os.path.getsize(name) + os.path.getsize(name + "-wal")
print(json.dumps(size))
"""


def backlog_rows(scale):
    """Return the rows of a large backlog; the server is away until it is drained."""
    count = 20000 if scale.is_small else 1000000
    url = subjects.unused_url()
    with subjects.folder() as path, subjects.folder() as empty:
        children.run(FILL, url, path, count)
        children.run(FILL, url, empty, 1)
        rows = [_bytes_row(path, count)]
        rows += _open_rows(path, empty, url)
        rows += [_append_row(path, url, scale), _memory_row(path, empty, url, scale)]
    return [row._replace(what=row.what % "{0:,}".format(count)) for row in rows]


def drained_rows(scale):
    """Return the row of the file after all of it was delivered."""
    count = 5000 if scale.is_small else 100000
    url = subjects.unused_url()
    with subjects.folder() as path:
        children.run(FILL, url, path, count)
        name = _only_outbox(path)
        before = os.path.getsize(name)
        with Sink(port=_port(url)):
            after = children.run(DRAIN_AND_WAIT, url, path, name)
    return [
        plain(
            "the file of %s records (%.1f MB), drained" % ("{0:,}".format(count), before / 1e6),
            after / 1e6,
            "MB",
            1,
        )
    ]


def _port(url):
    return int(url.rsplit(":", 1)[1])


def _only_outbox(path):
    (name,) = [name for name in os.listdir(path) if name.endswith(".outbox")]
    return os.path.join(path, name)


def _bytes_row(path, count):
    return compared(
        "backlog of %s: a record on disk",
        os.path.getsize(_only_outbox(path)) / count,
        "bytes",
        "its body",
        len(_body()),
        1.35,
    )


def _body():
    return build.encode(build.event(subjects.NAME, subjects.DATA))


def _open_rows(path, empty, url):
    opened, first = zip(*[_seconds_to_open(path, url) for _ in range(7)])
    beside, _ = zip(*[_seconds_to_open(empty, url) for _ in range(7)])
    return [
        plain("backlog of %s: open", median(opened) * 1e3, "ms", 50),
        plain("beside the backlog of %s: open an empty queue", median(beside) * 1e3, "ms"),
        plain("backlog of %s: first record", median(first) * 1e3, "ms", 5),
    ]


def _seconds_to_open(path, url):
    resolved = settings.resolve(url, product="benchmark", version="1", spool_dir=path)
    warn = AssertionError
    start = default_timer()
    outbox = Outbox(Spool(path, scope.of(resolved), False, warn).claim(), resolved.max_bytes, warn)
    opened = default_timer()
    head = outbox.head(outbox.entries()[0])
    first = default_timer()
    outbox.close()
    assert head is not None
    return opened - start, first - opened


def _append_row(path, url, scale):
    batches, calls = (5, 200) if scale.is_small else (30, 500)
    ours, beside = children.run(APPEND, url, path, batches, calls)
    return paired("backlog of %s: log_event, p50", ours, "empty queue", beside, 1.15)


def _memory_row(path, empty, url, scale):
    with Sink(port=_port(url)):
        idle = children.run(DRAIN, url, empty, 0)
        draining = children.run(DRAIN, url, path, 2000 if scale.is_small else 20000)
    return plain(
        "backlog of %s: memory while draining, beyond an empty queue",
        (draining - idle) / 1e6,
        "MB",
        15,
    )


MEASURES = (backlog_rows, drained_rows)

if __name__ == "__main__":
    main(MEASURES)
