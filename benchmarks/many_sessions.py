"""What sessions with waiting records cost: memory, and choosing the next one.

The server is a function that accepts everything, so that little but choosing and settling is
timed.
"""

from __future__ import absolute_import, division

import time

from . import children, subjects
from .measuring import compared, main, median, plain

SESSIONS = 10000
RECORDS = 8

SENDING = """
from benchmarks import many_sessions
print(json.dumps(many_sessions.measured(sys.argv[1], *map(int, sys.argv[2:]))))
"""


def sender_rows(scale):
    """Return the rows of a sender with thousands of waiting sessions, compared with one."""
    sessions = SESSIONS // 10 if scale.is_small else SESSIONS
    turns, steps = (5, 100) if scale.is_small else (20, 250)
    with subjects.folder() as path:
        found = children.run(SENDING, path, sessions, turns, steps)
    alone, among = median(found["alone"]), median(found["among"])
    waiting = "%d sessions with %d records each" % (sessions, RECORDS)
    return [
        plain(waiting + ", memory", found["bytes"] / 1e6, "MB", 20 * sessions / SESSIONS),
        plain(waiting + ", memory of the lanes", found["lanes_bytes"] / 1e6, "MB"),
        plain(waiting + ", added to a send", (among - alone) * 1e3, "ms", 0.2),
        compared(waiting + ", a send", among * 1e6, "us", "with one session", alone * 1e6, 2.5),
    ]


def measured(path, sessions, turns, steps):
    """Measure in this process what `sender_rows` needs (a dict).

    :param path: a folder for outboxes.
    :param sessions: how many sessions have records waiting.
    :param turns: how often `steps` sends are timed.
    """
    alone = Sending(path + "/alone")
    alone.fill(1, turns * steps + 2)
    alone.send(1)
    empty = children.resident_bytes()
    among = Sending(path + "/among")
    among.fill(sessions, RECORDS)
    filled = children.resident_bytes()
    among.send(1)
    begun = children.resident_bytes()
    # One turn each, so that whatever is kept of a session afterwards is counted.
    among.send(sessions - 1)
    found = {
        "bytes": children.resident_bytes() - empty,
        "lanes_bytes": begun - filled,
        "alone": [],
        "among": [],
    }
    # In turns, so that other load on the machine affects both.
    for _ in range(turns):
        found["alone"].append(alone.send(steps))
        found["among"].append(among.send(steps))
    return found


class Sending(object):
    """A sender with an outbox of its own and a server that accepts everything.

    :param folder: the outbox's folder.
    """

    def __init__(self, folder):
        # Imported here, because the rows above are made in a process that does not need it.
        from datacat import settings
        from datacat.outbox.outbox import Outbox
        from datacat.outbox.spool import Spool
        from datacat.scope import Scope
        from datacat.sending.sender import Sender

        spool = Spool(folder, Scope("0" * 12, "0" * 12, ""), False, _warn)
        self._outbox = Outbox(spool.create(), 2**30, _warn)
        resolved = settings.resolve("http://server", product="benchmark", version="1")
        self._sender = Sender(resolved, YesServer(), self._outbox, None, _warn)

    def fill(self, sessions, records):
        """Add open sessions with some events each, in turns, as applications do."""
        from datacat.records import build, kinds

        opening = build.encode(build.opening("benchmark", "1"))
        body = build.encode(build.event(subjects.NAME, subjects.DATA))
        entries = [
            self._outbox.add_session("local-%d" % number, opening, server_id="s%d" % number)
            for number in range(sessions)
        ]
        for _ in range(records):
            for entry in entries:
                self._outbox.append(entry, kinds.EVENT, body)
        # And no checkpoint of all that while sends are timed.
        self._outbox.upkeep.sync()

    def send(self, count):
        """Send some records; return the CPU seconds per record."""
        began = time.process_time()
        for _ in range(count):
            if self._sender.step(began) != 0.0:
                raise RuntimeError("the sender rests though records wait")
        return (time.process_time() - began) / count


class YesServer(object):
    """Stands in for a Transport: accepts every record at once, as a classic server."""

    def call(self, request, on_chunk=None, **_):
        from datacat.wire.calls import Response

        if request.path == "/health":
            return Response(404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        if request.method == "GET":
            asked = request.path.rsplit("/", 1)[1].encode("ascii")
            on_chunk(b'{"id":"' + asked + b'","state":{}}')
            return Response(200, {}, b"")
        return Response(200, {}, b'{"status":"ok"}\n')

    def call_all(self, requests, connects=False):
        """Return that there is no connection for a window: what is measured is a turn."""
        return [], None


def _warn(topic, message):
    raise RuntimeError(message)


_warn.clear = lambda topic: None

MEASURES = (sender_rows,)

if __name__ == "__main__":
    main(MEASURES)
