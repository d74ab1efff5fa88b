"""What short runs deliver over a long line: open a session, log five events, exit.

Belongs here: runs one after the other, and what the server has after each.  Does not: the line
(see `delay_line`), long sessions (see `links`).

The runs share a folder, as those of one application do: what one of them could not send, and what
it has learned about the server, is there for the next.
"""

from __future__ import absolute_import, division

import functools
import time
from timeit import default_timer

import requests

from . import children, measuring, servers, subjects
from .measuring import plain

EVENTS = 5
RTT = 0.6
# None: create_session's own.
CONNECT_WAITS = (None, 0)
_RUN = """
import datacat
wait = json.loads(sys.argv[3])
options = {} if wait is None else {"connect_wait": wait}
session = datacat.create_session(
    sys.argv[1], product="short", version="1", spool_dir=sys.argv[2], **options
)
for number in range(%d):
    session.log_event("step", {"number": number})
print(json.dumps(None))
""" % EVENTS


def short_run_rows(generation, scale):
    """Return the rows of a server of that generation ("v1" or "classic")."""
    rows = []
    for wait in CONNECT_WAITS:
        with servers.Collector(generation) as server, servers.Line(server.url, RTT) as line:
            server = _Sessions(generation, server.url)
            rows.extend(_rows(server, line, wait, 4 if scale.is_small else 40))
    return rows


def _rows(server, line, wait, runs):
    late, seconds = 0, []
    with subjects.folder() as spool:
        for run in range(runs):
            start = default_timer()
            children.run(_RUN, line.url, spool, "null" if wait is None else wait)
            seconds.append(default_timer() - start)
            # What is on the line when the run is over.
            time.sleep(RTT)
            events, _ = server.arrived()
            late += max(0, EVENTS * (run + 1) - events)
    events, ended = server.arrived()
    what = "%s, RTT %d ms, runs of %d events%s" % (
        server.generation,
        RTT * 1e3,
        EVENTS,
        "" if wait is None else ", connect_wait=%g" % wait,
    )
    return [
        plain(what + ": arrived", 100.0 * events / (EVENTS * runs), "% of events"),
        plain(what + ": arrived", 100.0 * ended / runs, "% of ends"),
        plain(what + ": left for the next run", late / runs, "events"),
        plain(what + ": a run", measuring.median(seconds), "s"),
    ]


class _Sessions(object):
    """What a server has, read without the line and without the client."""

    def __init__(self, generation, url):
        self.generation = generation
        self._url = url
        self._listing = {"v1": "/api/data/sessions", "classic": "/api/grafana/sessions"}[
            generation
        ]

    def arrived(self):
        """Return how many events, and how many ends, it has."""
        with requests.Session() as http:
            http.trust_env = False

            def get(path):
                return http.get(self._url + path, timeout=60).json()

            whole = [get("/api/sessions/" + each["id"]) for each in get(self._listing)]
        names = [event["name"] for each in whole for event in each["events"] or ()]
        return names.count("step"), sum(not each["active"] for each in whole)


MEASURES = [functools.partial(short_run_rows, generation) for generation in ("v1", "classic")]

if __name__ == "__main__":
    measuring.main(MEASURES)
