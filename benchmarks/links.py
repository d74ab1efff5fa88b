"""How fast what waits goes out over lines with delay, faults and little capacity.

Belongs here: draining a session over a line, and checking that all arrived.  Does not: the line
(see `delay_line`), what a record costs without one (see `drain`).

A drain begins with the first log call, so that it includes finding out what the server takes.  The
session is open by then.
"""

from __future__ import absolute_import, division

import collections
import functools
import time
from timeit import default_timer

import datacat

from . import drain, measuring, servers, subjects
from .measuring import compared, plain

WINDOW = 64
# Each event of this session is about 360 bytes on the wire, with its request's head.
DATA = {"customer": "c-20419-7731", "total": 129.95, "channel": "shop/checkout/express"}

# Seconds, the records to drain with windows and one by one, how many times as fast windows have to
# be.
ROUND_TRIPS = ((0.05, 3000, 120, 10), (0.2, 2500, 40, 20), (0.6, 1000, 12, 20))
# Without the longest: the first windows, which are narrow, would be most of a short drain.
SHORT_ROUND_TRIPS = ((0.05, 400, 10, 10), (0.2, 400, 5, 20))
FAULTS_RTT, FAULTS_EVERY, DARK_SECONDS = 0.2, 4.0, 2.0
FAULTS = (
    ("cut every %d s" % FAULTS_EVERY, servers.Line.cut),
    (
        "dark for %d of every %d s" % (DARK_SECONDS, FAULTS_EVERY),
        lambda line: line.go_dark(DARK_SECONDS),
    ),
    ("an answer lost every %d s" % FAULTS_EVERY, servers.Line.lose_answer),
)
# A line that buffers two seconds.
SLOW_RTT, SLOW_BITS, SLOW_BUFFER = 0.6, 32000, 8000
# Many sessions with a record each, for longer than a v1 server waits for a heartbeat.
SESSIONS, SESSIONS_RTT, SESSIONS_SECONDS = 200, 0.1, 75
SHORT_SESSIONS, SHORT_SESSIONS_SECONDS = 10, 2
_GLANCE = 0.02
_PATIENCE = 600


class Drained(collections.namedtuple("Drained", "records seconds wire_bytes generation")):
    """How a drain went: records, the seconds they took, bytes up, the server's generation."""

    __slots__ = ()

    @property
    def rate(self):
        """Records per second."""
        return self.records / self.seconds


def drained(line, url, records, window=WINDOW, strike=None):
    """Drain a new session over a line; return a Drained, or raise RuntimeError.

    :param line: a servers.Line.
    :param url: the server's, not over the line, where the session is read afterwards.
    :param strike: a callable (line), called every FAULTS_EVERY seconds.
    """
    with subjects.session(line.url, window=window, connect_wait=30) as session:
        before = line.delivered()["up"]
        start = default_timer()
        for number in range(records):
            session.log_event(subjects.NAME, dict(DATA, number=number))
        # Makes the sender start at once.
        session.flush(timeout=0)
        _wait(session, line, strike)
        seconds = default_timer() - start
        wire_bytes = line.delivered()["up"] - before
        check_arrived(url, session.session_id, records)
        return Drained(records, seconds, wire_bytes, session.stats()["dialect"])


def _wait(session, line, strike):
    start = default_timer()
    # The first soon, so that a short drain meets one, too.
    due, struck = start + FAULTS_EVERY / 2, 0
    while session.stats()["waiting"]:
        now = default_timer()
        if now > start + _PATIENCE:
            raise RuntimeError("not drained: %r" % session.stats())
        if strike is not None and now >= due:
            strike(line)
            due, struck = due + FAULTS_EVERY, struck + 1
        time.sleep(_GLANCE)
    if strike is not None and not struck:
        raise RuntimeError("the drain was over before the first fault: it needs more records")


def check_arrived(url, session_id, records):
    """Raise RuntimeError unless a server has so many events of `drained`, once and in order."""
    with datacat.DatacatClient(url, timeout=60, deadline=120) as client:
        events = client.get_session(session_id)["events"]
    numbers = [event["data"]["number"] for event in events if event["name"] == subjects.NAME]
    if numbers != list(range(records)):
        raise RuntimeError(
            "of %d records, %d arrived, %d different ones, %s order"
            % (
                records,
                len(numbers),
                len(set(numbers)),
                "in" if numbers == sorted(numbers) else "out of",
            )
        )


def link_rows(server, scale):
    """Return the rows of one server, which is started for them."""
    with server as running:
        return (
            round_trip_rows(running.url, scale)
            + fault_rows(running.url, scale)
            + slow_rows(running.url, scale)
        )


def round_trip_rows(url, scale):
    """Return a row for each round trip: windows beside one record at a time."""
    rows = []
    for rtt, many, few, at_least in SHORT_ROUND_TRIPS if scale.is_small else ROUND_TRIPS:
        with servers.Line(url, rtt) as line:
            together = drained(line, url, many)
            alone = drained(line, url, few, window=1)
        what = "%s, RTT %d ms" % (together.generation, rtt * 1e3)
        rows.append(
            compared(what, together.rate, "records/s", "window=1", alone.rate, at_least=at_least)
        )
    return rows


def fault_rows(url, scale):
    """Return a row for each kind of fault."""
    records = 200 if scale.is_small else 1500
    rows = []
    for name, strike in FAULTS[:2] if scale.is_small else FAULTS:
        with servers.Line(url, FAULTS_RTT) as line:
            found = drained(line, url, records, strike=strike)
        what = "%s, RTT %d ms, %s" % (found.generation, FAULTS_RTT * 1e3, name)
        rows.append(plain(what, found.rate, "records/s", at_least=16))
    return rows


def slow_rows(url, scale):
    """Return the rows of a line with little capacity, of which records may not use all."""
    with servers.Line(url, SLOW_RTT, SLOW_BITS, SLOW_BUFFER) as line:
        found = drained(line, url, 8 if scale.is_small else 100)
    what = "%s, RTT %d ms, %d kbit/s" % (found.generation, SLOW_RTT * 1e3, SLOW_BITS / 1e3)
    used = 8 * found.wire_bytes / found.seconds / SLOW_BITS
    return [
        plain(what, found.rate, "records/s"),
        plain(what + ", a record", found.wire_bytes / found.records, "bytes up"),
        plain(what + ", used of the way up", 100 * used, "%"),
    ]


def session_rows(server, scale):
    """Return the rows of many sessions on a line, which log a record each again and again."""
    count, least = SESSIONS, SESSIONS_SECONDS
    if scale.is_small:
        count, least = SHORT_SESSIONS, SHORT_SESSIONS_SECONDS
    with server as running, servers.Line(running.url, SESSIONS_RTT) as line:
        with subjects.folder() as spool:
            sessions = [_opened(line, spool) for _ in range(count)]
            rounds, seconds, suspended = 0, 0, 0
            while seconds < least:
                seconds += _log_one_each(sessions)
                rounds, suspended = rounds + 1, max(suspended, _suspended(running.url, sessions))
            what = "%s, RTT %d ms, %d sessions"
            what %= (sessions[0].stats()["dialect"], SESSIONS_RTT * 1e3, count)
            for session in sessions:
                session.close(timeout=0)
    return [
        plain(what, rounds * count / seconds, "records/s"),
        plain(what + ", taken for dead", suspended, "times", at_most=0),
    ]


def _opened(line, spool):
    session = datacat.create_session(
        line.url, product="benchmark", version="1", spool_dir=spool, connect_wait=30
    )
    if session.session_id == session.local_id:
        raise RuntimeError("not open: %r" % session.stats())
    return session


def _log_one_each(sessions):
    """Log a record to each session; return the seconds until all are delivered."""
    start = default_timer()
    for session in sessions:
        session.log_event(subjects.NAME, DATA)
    while any(session.stats()["waiting"] for session in sessions):
        if default_timer() > start + _PATIENCE:
            raise RuntimeError("not drained: %r" % sessions[0].stats())
        time.sleep(_GLANCE)
    return default_timer() - start


def _suspended(url, sessions):
    """Return how many sessions a server takes for dead; a classic one takes none."""
    with datacat.DatacatClient(url, timeout=60, deadline=120) as client:
        return sum(
            bool(client.get_session(session.session_id).get("suspended")) for session in sessions
        )


def measures(url=None):
    """Return the measures, callables (Scale) -> rows, of servers of both generations.

    :param url: measure this server instead of own ones.
    """
    measured = [servers.Collector(one) for one in ("v1", "classic")]
    if url is not None:
        measured = [servers.Existing(url)]
    return [functools.partial(link_rows, one) for one in measured] + [
        functools.partial(session_rows, measured[0]),
        drain.drain_rows,
    ]


if __name__ == "__main__":
    parser = measuring.parser()
    parser.add_argument(
        "--server", metavar="URL", help="a server to use instead of own ones; sessions stay there"
    )
    arguments = parser.parse_args()
    measuring.run(measures(arguments.server), arguments)
