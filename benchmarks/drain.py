"""How fast the sender delivers waiting records, compared with a bare loop.

The server times both, from the first event of a batch to its last, so that nothing in the
measured process polls.
"""

from __future__ import absolute_import, division

import json
import os

import requests

from . import subjects
from .measuring import Row, main, median, plain, ratio_of
from .sink import Sink


def drain_rows(scale):
    """Return the row of a drain: one POST per record, in order, several on the way at once."""
    count, pairs = (100, 10) if scale.is_small else (500, 40)
    with subjects.folder() as path, Sink() as sink, subjects.session(sink.url) as session:
        bare = BareLoop(os.path.join(path, "floor.db"), sink.url)
        subjects.drained(session)
        ours, floors = [], []
        for _ in range(pairs):
            bare.fill(count)
            floors.append([_seconds_a_record(sink, count, bare.drain)])
            ours.append([_seconds_a_record(sink, count, lambda: _drain(session, sink, count))])
        return [
            Row(
                "drain, a record",
                median([one for one, in ours]) * 1e6,
                "us",
                "Session.send + DELETE",
                median([one for one, in floors]) * 1e6,
                ratio_of(ours, floors),
                0.5,
            )
        ]


def _seconds_a_record(sink, count, drain):
    before = sink.received()["requests"]
    drain()
    received = sink.received()
    assert received["requests"] - before >= count, "not all of the batch arrived"
    return received["events_seconds"] / (count - 1)


def _drain(session, sink, count):
    sink.pause()
    for _ in range(count):
        session.log_event(subjects.NAME, subjects.DATA)
    # Makes the sender start at once.
    session.flush(timeout=0)
    sink.resume()
    subjects.drained(session, glance=0.1)


class BareLoop(object):
    """`requests.Session.send` of one reused prepared request and one DELETE per record."""

    def __init__(self, path, url):
        self._floor = subjects.Floor(path)
        self._session = requests.Session()
        self._session.trust_env = False
        self._prepared = self._session.prepare_request(
            requests.Request(
                "POST",
                url + "/api/sessions/00000000-0000-4000-8000-000000000000/events",
                data=json.dumps(subjects.event()),
                headers={"Content-Type": "application/json"},
            )
        )

    def fill(self, count):
        """Keep `count` events."""
        for _ in range(count):
            self._floor.put(subjects.event())

    def fill_and_drain(self):
        """Keep one event, send it and delete it."""
        self.fill(1)
        self.drain()

    def drain(self):
        """Send one request per record, and delete the record."""
        for (number,) in self._floor.execute("SELECT id FROM records ORDER BY id").fetchall():
            answer = self._session.send(self._prepared)
            if answer.status_code == 200 and answer.json()["status"] == "ok":
                self._floor.execute("DELETE FROM records WHERE id = ?", (number,))


def sink_rows(scale):
    """Return the row of the sink, which must not be what limits the drain."""
    with Sink() as sink:
        fastest = max(sink.requests_a_second() for _ in range(2 if scale.is_small else 5))
    return [plain("the sink alone, a request", 1e6 / fastest, "us", at_most=100)]


MEASURES = (drain_rows, sink_rows)

if __name__ == "__main__":
    main(MEASURES)
