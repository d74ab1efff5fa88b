"""What datacat adds to an application's memory and CPU, and what gzip saves on the wire."""

from __future__ import absolute_import, division

from . import children, subjects
from .measuring import compared, main, median, plain
from .sink import Sink

REQUESTS = """
import requests
print(json.dumps(children.resident_bytes()))
"""

LOGGING = """
import datacat
from benchmarks import subjects
session = datacat.create_session(sys.argv[1], product="memory", version="1", spool_dir=sys.argv[2])
for number in range(2000):
    session.log_event(subjects.NAME, subjects.DATA)
subjects.drained(session)
print(json.dumps(children.resident_bytes()))
"""

AT_A_RATE = """
import datacat
from benchmarks import drain, subjects
url, folder, seconds, how = sys.argv[1:]
seconds = float(seconds)
session = datacat.create_session(url, product="cpu", version="1", spool_dir=folder)
session.flush(10)
bare = drain.BareLoop(folder + "/floor.db", url)
call = {
    "silent": lambda: None,
    "logging": lambda: session.log_event(subjects.NAME, subjects.DATA),
    "bare": bare.fill_and_drain,
}[how]
time.sleep(1)
before = os.times()
for number in range(int(seconds * 100)):
    time.sleep(0.01)
    call()
after = os.times()
print(json.dumps((after[0] + after[1] - before[0] - before[1]) / seconds))
"""


def memory_rows(scale):
    """Return the row of an application's memory, compared with one that only imports requests."""
    repeated = range(1 if scale.is_small else 5)
    with subjects.folder() as path, Sink() as sink:
        bare = median([children.run(REQUESTS) for _ in repeated])
        logging = median(
            [children.run(LOGGING, sink.url, "%s/%d" % (path, number)) for number in repeated]
        )
    return [
        plain(
            "memory of an application that logs, beyond `import requests`",
            (logging - bare) / 1e6,
            "MB",
            7,
        ),
        plain("memory of `import requests`", bare / 1e6, "MB"),
    ]


def cpu_rows(scale):
    """Return the row of the library's CPU in an application that logs 100 records a second."""
    # One after the other, so that they do not share the processor's caches.
    seconds, turns = (3, 1) if scale.is_small else (10, 3)
    taken = {"logging": [], "silent": [], "bare": []}
    with subjects.folder() as path, Sink() as sink:
        for turn in range(turns):
            for how, shares in sorted(taken.items()):
                shares.append(
                    children.run(AT_A_RATE, sink.url, "%s/%s-%d" % (path, how, turn), seconds, how)
                )
    logging, silent, bare = [median(taken[how]) for how in ("logging", "silent", "bare")]
    return [
        plain("CPU at 100 records a second, of a core", (logging - silent) * 100, "%", 6),
        compared(
            "CPU at 100 records a second, of a core",
            (logging - silent) * 100,
            "%",
            "INSERT + Session.send + DELETE",
            (bare - silent) * 100,
        ),
    ]


def typical_state(documents=24):
    """Return a state such as an editor's, about 4 KB of JSON."""
    return {
        "status": "running",
        "user": "u-7f3a",
        "version": "4.2.1",
        "documents": [
            {
                "id": "doc-%04d" % number,
                "title": "Quarterly report %d" % number,
                "path": "/home/user/documents/2026/report-%d.odt" % number,
                "modified": number % 3 == 0,
                "cursor": {"line": number * 7, "column": number % 80},
            }
            for number in range(documents)
        ],
    }


def wire_rows(scale):
    """Return the row of a typical state's bytes on the wire, to v1 and to classic."""
    requests = 20 if scale.is_small else 100
    sent = {}
    for generation in ("v1", "classic"):
        with Sink(generation) as sink, subjects.session(sink.url) as session:
            session.log_event("first")
            subjects.drained(session)
            before = sink.received()["wire_bytes"]
            for _ in range(requests):
                session.update_state(typical_state())
            subjects.drained(session)
            sent[generation] = (sink.received()["wire_bytes"] - before) / requests
    return [
        compared(
            "a typical state on the wire, v1",
            sent["v1"],
            "bytes",
            "classic, which takes no gzip",
            sent["classic"],
            0.4,
        )
    ]


MEASURES = (memory_rows, cpu_rows, wire_rows)

if __name__ == "__main__":
    main(MEASURES)
