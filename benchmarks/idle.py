"""What an idle session costs: wakeups and CPU of the library's threads."""

from __future__ import absolute_import, division

from . import children, subjects
from .measuring import main, plain
from .sink import Sink

CHECK_INTERVAL = 5

APPLICATION = """
import datacat
url, spool, seconds, check_interval = sys.argv[1:]
session = datacat.create_session(url, product="idle", version="1", spool_dir=spool)
session.log_event("started")
if float(check_interval):
    session.start_heartbeat_monitor(timeout=600, check_interval=float(check_interval))
assert session.flush(10)
time.sleep(3)
before = children.other_threads()
time.sleep(float(seconds))
after = children.other_threads()
print(json.dumps([late - early for late, early in zip(after, before)]))
"""


def idle_rows(scale):
    """Return the rows of wakeups and CPU time in 30 seconds with nothing to send."""
    seconds = 6 if scale.is_small else 30
    cases = (
        ("classic", 0, 1),
        ("classic", CHECK_INTERVAL, 1 + seconds // CHECK_INTERVAL),
        ("v1", 0, 1 + seconds // 15),
    )
    rows = []
    for (generation, interval, most), (wakeups, cpu) in zip(cases, _measured(cases, seconds)):
        what = "idle %d s, %s%s" % (
            seconds,
            generation,
            ", monitor every %d s" % interval if interval else "",
        )
        rows.append(plain(what + ", wakeups", wakeups, "times", most))
        at_rest = generation == "classic" and not interval
        rows.append(plain(what + ", CPU", cpu * 1e3, "ms", 1.0 if at_rest else None))
    return rows


def _measured(cases, seconds):
    with subjects.folder() as path, Sink("classic") as classic, Sink("v1") as v1:
        urls = {"classic": classic.url, "v1": v1.url}
        running = [
            children.start(
                APPLICATION, urls[generation], "%s/%d" % (path, number), seconds, interval
            )
            for number, (generation, interval, _) in enumerate(cases)
        ]
        return [finish() for finish in running]


MEASURES = (idle_rows,)

if __name__ == "__main__":
    main(MEASURES)
