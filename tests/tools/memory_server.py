"""A datacat server in memory, in place of a Transport, that fails as a test tells it to.

It behaves as the transcripts show.  The test sets the time, so that nothing sleeps.
"""

from __future__ import absolute_import, division

import collections
import json
import zlib

import six

from datacat import errors
from datacat.wire.calls import Response
from tools.merged_state import merge

PLAIN = "text/plain; charset=utf-8"
CHUNK = 512


class World(object):
    """The clocks of a test, monotonic and wall, which advance together."""

    def __init__(self, now=1000.0, wall=1767323045.0):
        self.now = now
        self.sessions = 0
        self._ahead = wall - now

    def clock(self):
        return self.now

    def wall(self):
        return self.now + self._ahead

    def set_wall(self, wall):
        self._ahead = wall - self.now

    def pass_(self, seconds):
        self.now += seconds


class Headers(dict):
    """A mapping whose `get` ignores case."""

    def get(self, name, default=None):
        return dict.get(self, name.lower(), default)


def text(status, words, kind=PLAIN, **headers):
    """Return a response in plain text; Retry_After=7 becomes a header."""
    made = Headers((name.replace("_", "-").lower(), str(value)) for name, value in headers.items())
    made["content-type"] = kind
    return Response(status, made, six.ensure_binary(words))


def _json(value):
    body = json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
    return Response(200, Headers({"content-type": "application/json"}), body)


def _unpacked(request):
    return zlib.decompress(request.body, 31) if request.encoding == "gzip" else request.body


# Faults: callables (server, request) that return a Response or raise.


def refuse(server, request):
    raise errors.NotSent("connection refused")


def cut_short(server, request):
    raise errors.CutShort("the connection broke before the whole request was sent")


def lose_answer(server, request):
    server.answer(request)
    return never_answer(server, request)


def never_answer(server, request):
    server.world.pass_(server.timeout)
    raise errors.OutcomeUnknown("no answer: nothing came for %g s" % server.timeout)


def apply_late(seconds):
    """Break the connection; apply the request all the same, some seconds later."""

    def fault(server, request):
        server.late.append((server.world.now + seconds, request))
        raise errors.OutcomeUnknown("the connection broke")

    return fault


def say(status, words="", kind=PLAIN, applied=False, **headers):
    """Answer with these words; `applied`: whether the request is applied first."""

    def fault(server, request):
        if applied:
            server.answer(request)
        return text(status, words, kind, **headers)

    return fault


def portal(server, request):
    return text(200, "<html><a id=\"id\">Welcome to our network</a></html>", "text/html")


class MemoryServer(object):
    """Answers `call` as `datacat.wire.transport.Transport` does.

    :ivar fault: the fault of every request for which `concerned` is true, or None.
    :ivar next_faults: faults of the next such requests, one each.
    :ivar poison: {name of an event or metric: its fault, always}.
    :ivar windows: whether it has a connection for windows.
    :ivar pace: how many seconds it takes to send 512 bytes of a session.
    :ivar streamed: how many bytes of sessions it sent.
    :ivar calls: all requests, in order.
    :ivar addresses: this machine's own addresses, as `own_addresses` returns them.
    :ivar looks: how often that was asked for.
    :ivar struck: how many of them met a fault.
    :ivar applied: (session id, operation, body) of what was applied, in order, even if lost since.
    """

    def __init__(self, world, classic=False, key=None):
        self.world = world
        self.classic = classic
        self.timeout = 10.0
        self.fault = None
        self.next_faults = []
        self.concerned = lambda request: True
        self.poison = {}
        self.calls = []
        self.applied = []
        self.late = []
        self.struck = 0
        self.sessions = collections.OrderedDict()
        self.windows = False
        self.pace = 0.0
        self.streamed = 0
        self.addresses = ("10.0.0.7",)
        self.looks = 0
        self._made = self._changes = 0

    def own_addresses(self):
        self.looks += 1
        return self.addresses

    def call_all(self, requests, connects=False):
        """Answer what `Transport.call_all` does; on a connection only if `windows` is True."""
        responses = []
        for request in requests if self.windows else ():
            try:
                responses.append(self.call(request))
            except errors.DatacatError as error:
                return responses, error
        return responses, None

    def call(
        self,
        request,
        timeout=None,
        deadline=None,
        limit=64 * 1024,
        on_chunk=None,
        is_short=False,
    ):
        self._apply_what_is_late()
        self.calls.append(request)
        fault = self._fault_for(request)
        if fault is None:
            response = self.answer(request)
        else:
            self.struck += 1
            response = fault(self, request)
        if response.status < 300 and on_chunk is not None:
            return self._streamed(response, limit, on_chunk)
        if response.status < 300 and limit is not None and len(response.body) > limit:
            raise errors.OutcomeUnknown("the answer is larger than the limit of %d bytes" % limit)
        return response

    def _streamed(self, response, limit, on_chunk):
        for start in range(0, len(response.body), CHUNK):
            self.world.pass_(self.pace)
            self.streamed += len(response.body[start : start + CHUNK])
            if limit is not None and start + CHUNK > limit:
                raise errors.OutcomeUnknown("the answer is larger than the limit")
            if on_chunk(response.body[start : start + CHUNK]):
                break
        return response._replace(body=b"")

    def _fault_for(self, request):
        if self.poison and request.path.endswith(("/events", "/metrics")):
            name = json.loads(_unpacked(request).decode("ascii"))["name"]
            if name in self.poison:
                return self.poison[name]
        if self.concerned(request):
            return self.next_faults.pop(0) if self.next_faults else self.fault
        return None

    def _apply_what_is_late(self):
        due = [request for when, request in self.late if when <= self.world.now]
        self.late = [(when, request) for when, request in self.late if when > self.world.now]
        for request in due:
            self.answer(request)

    # What it has

    def lose_data(self):
        self.sessions.clear()

    def only_session(self):
        assert len(self.sessions) == 1, list(self.sessions)
        return list(self.sessions.values())[0]

    def names(self, server_id=None):
        """The names of a session's events, in order of arrival."""
        session = self.only_session() if server_id is None else self.sessions[server_id]
        return [event["name"] for event in session["events"]]

    def sent_to(self, end):
        """The requests for an operation, such as "/events"."""
        return [
            request
            for request in self.calls
            if request.method == "POST" and request.path.endswith(end)
        ]

    # How it answers

    def answer(self, request):
        """Apply the request and return its answer, without any fault."""
        parts = request.path.strip("/").split("/")
        if request.path == "/health":
            return self._health()
        if parts[:2] != ["api", "sessions"]:
            return text(404, "404 page not found\n")
        if len(parts) == 2:
            return self._create(request)
        session = self.sessions.get(parts[2])
        if request.method == "GET":
            return _json(session) if session is not None else text(404, "Session not found\n")
        operation = getattr(self, "_post_" + parts[3], None)
        if operation is None or (self.classic and parts[3] in ("heartbeat", "crash")):
            return text(404, "Not found\n")
        if session is None:
            return text(404, "session not found\n")
        return self._applied(operation, session, request)

    def _applied(self, operation, session, request):
        try:
            fields = json.loads(_unpacked(request).decode("ascii"))
            operation(session, fields)
        except (ValueError, KeyError):
            return text(400, "Invalid request body\n")
        self._changes += 1
        session["updated_at"] = "%s, change %d" % (self._time(), self._changes)
        self.applied.append((session["id"], request.path.rsplit("/", 1)[1], fields))
        return _json({"status": "ok"})

    def _health(self):
        if self.classic:
            return text(404, "404 page not found\n")
        return _json({"service": "datacat-server", "status": "healthy", "version": "1.0.0"})

    def _create(self, request):
        fields = json.loads(request.body.decode("ascii"))
        if not self.classic and not (fields.get("product") and fields.get("version")):
            return text(400, "Product and version are required fields\n")
        self._made += 1
        name = "server-%d" % self._made
        session = collections.OrderedDict(
            [("id", name), ("created_at", self._time()), ("updated_at", self._time())]
        )
        if not self.classic:
            session.update([("suspended", False), ("crashed", False), ("hung", False)])
        session["state"] = (
            {} if self.classic else {"product": fields["product"], "version": fields["version"]}
        )
        if not self.classic:
            session["state_history"] = []
        session.update([("events", []), ("metrics", [])])
        self.sessions[name] = session
        return _json({"session_id": name})

    def _time(self):
        return "@%.6f" % self.world.wall()

    def _stamped(self, fields, *names):
        stamp = self._time() if self.classic else fields.get("timestamp", self._time())
        return collections.OrderedDict(
            [("timestamp", stamp)] + [(name, fields.get(name)) for name in names]
        )

    def _post_state(self, session, fields):
        if self.classic:
            session["state"] = merge(session["state"], fields, null_deletes=False)
            return
        update, stamp = fields["state"], fields["timestamp"]
        session["state"] = merge(session["state"], update, null_deletes=True)
        session["state_history"].append(
            collections.OrderedDict([("timestamp", stamp), ("state", session["state"])])
        )

    def _post_events(self, session, fields):
        session["events"].append(self._stamped(fields, "name", "data"))

    def _post_metrics(self, session, fields):
        session["metrics"].append(self._stamped(fields, "name", "value", "tags"))

    def _post_heartbeat(self, session, fields):
        session["last_heartbeat"] = self._time()

    def _post_end(self, session, fields):
        session["ended_at"] = self._time()

    def _post_crash(self, session, fields):
        session["crashed"] = True
        session["ended_at"] = self._time()
        event = {"name": "session_crashed_detected", "data": {"reason": fields.get("reason")}}
        session["events"].append(self._stamped(event, "name", "data"))
