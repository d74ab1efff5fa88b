"""The two generations of the API: what each operation requires, stores and answers.

Belongs here: bytes in, text out, over a store and a clock.  Does not: HTTP, except for the words
of a refusal.
"""

import uuid

from datacat.collector import go_json, shapes, timestamps
from datacat.collector.store import EVENT, METRIC, STATE

SUSPENDED_AFTER = 60 * 10**9

_INVALID = "Invalid request body"
_EVENT = {"name": shapes.TEXT, "data": shapes.MAPPING}
_METRIC = {"name": shapes.TEXT, "value": shapes.NUMBER, "tags": shapes.TEXTS}
_OPENING = {
    "product": shapes.TEXT,
    "version": shapes.TEXT,
    "machine_id": shapes.TEXT,
    "hostname": shapes.TEXT,
}
_STATE_V1 = {"timestamp": shapes.TIMESTAMP, "state": shapes.MAPPING}
# In the order of the answer, which leaves out empty fields after the first seven.
_EVENT_V1 = {
    "timestamp": shapes.TIMESTAMP,
    "name": shapes.TEXT,
    "category": shapes.TEXT,
    "group": shapes.TEXT,
    "labels": shapes.TEXTS,
    "message": shapes.TEXT,
    "data": shapes.MAPPING,
    "stacktrace": shapes.TEXTS,
    "exception_type": shapes.TEXT,
    "exception_msg": shapes.TEXT,
    "source_file": shapes.TEXT,
    "source_line": shapes.INTEGER,
    "source_function": shapes.TEXT,
}
_ALWAYS_IN_EVENT_V1 = frozenset(list(_EVENT_V1)[:7])
_METRIC_V1 = {
    "timestamp": shapes.TIMESTAMP,
    "name": shapes.TEXT,
    "type": shapes.TEXT,
    "value": shapes.NUMBER,
    "count": shapes.OPTIONAL_INTEGER,
    "unit": shapes.TEXT,
    "tags": shapes.TEXTS,
    "metadata": shapes.MAPPING,
}
_ALWAYS_IN_METRIC_V1 = frozenset(["timestamp", "name", "type", "value"])
_CRASH = {"reason": shapes.TEXT}
_HUNG = {"application_appears_hung": True, "application_recovered": False}


class Refused(Exception):
    """The request is invalid: answered with 400 and these words."""


class Classic(object):
    """The older generation: no health check, no heartbeats, times of arrival."""

    name = "classic"
    health = None
    listing = "/api/grafana/sessions"
    takes_gzip = False
    operations = frozenset(["state", "events", "metrics", "end"])
    null_deletes = False

    def __init__(self, store, clock):
        self._store = store
        self._clock = clock

    def create(self, body):
        """Create a session and return its id; the body is ignored."""
        session_id = str(uuid.uuid4())
        now = self._now()
        with self._store.writing() as writer:
            writer.open(id=session_id, created_at=now, updated_at=now, state="{}")
        return session_id

    def operate(self, operation, session_id, body):
        """Perform one of `operations`.

        :param operation: its name (string).
        :param session_id: the session's id (string).
        :param body: the request's body (bytes), None if it could not be decompressed.
        :raises Refused: if the body is invalid.
        :raises UnknownSession: if the body is valid, but there is no such session.
        """
        getattr(self, f"_{operation}")(session_id, body)

    def read(self, session_id):
        """Yield the session's JSON in pieces; raises UnknownSession before the first."""
        with self._store.reading() as reader:
            row = reader.find(session_id)
            yield from self._session(reader, row)
            yield "\n"

    def read_all(self):
        """Yield the JSON of the list of all sessions in pieces."""
        with self._store.reading() as reader:
            separator = "["
            for row in reader.sessions():
                yield separator
                yield from self._session(reader, row)
                separator = ","
            yield "[]\n" if separator == "[" else "]\n"

    def _now(self):
        return timestamps.printed(self._clock())

    def _add(self, session_id, kind, body, **changes):
        now = self._now()
        with self._store.writing() as writer:
            session = writer.number(session_id)
            writer.add(session, kind, body)
            writer.change(session, updated_at=now, **changes)

    def _state(self, session_id, body):
        self._merge(session_id, self._state_in(body))

    def _state_in(self, body):
        state = _read(body, trailing=True)
        if state is not None and not isinstance(state, dict):
            raise Refused(_INVALID)
        return state

    def _merge(self, session_id, update, snapshot_at=None):
        now = self._now()
        with self._store.writing() as writer:
            row = writer.find(session_id)
            state = merged(
                go_json.read(row.state.encode("utf-8")), update or {}, self.null_deletes
            )
            text = _written(state)
            writer.change(row.number, updated_at=now, state=text)
            if snapshot_at is not None:
                writer.add(row.number, STATE, f'{{"timestamp":"{snapshot_at}","state":{text}}}')

    def _events(self, session_id, body):
        fields = _fitting(_EVENT, _read(body, trailing=True))
        self._add(
            session_id,
            EVENT,
            _object(
                [("timestamp", self._now()), ("name", fields["name"]), ("data", fields["data"])]
            ),
        )

    def _metrics(self, session_id, body):
        fields = _fitting(_METRIC, _read(body, trailing=True))
        tags = [("tags", fields["tags"])] if fields["tags"] else []
        self._add(
            session_id,
            METRIC,
            _object(
                [("timestamp", self._now()), ("name", fields["name"]), ("value", fields["value"])]
                + tags
            ),
        )

    def _end(self, session_id, _body):
        now = self._now()
        with self._store.writing() as writer:
            writer.change(writer.number(session_id), updated_at=now, ended_at=now)

    def _session(self, reader, row):
        yield _head(
            [
                ("id", row.id),
                ("created_at", row.created_at),
                ("updated_at", row.updated_at),
                ("ended_at", row.ended_at or None),
                ("active", row.ended_at is None),
            ]
        )
        yield f',"state":{row.state},"events":'
        yield from _list(reader.bodies(row.number, EVENT))
        yield ',"metrics":'
        yield from _list(reader.bodies(row.number, METRIC))
        yield "}"


class V1(Classic):
    """The newer generation: product and version, capture times, heartbeats, crashes, history."""

    name = "v1"
    health = '{"service":"datacat-server","status":"healthy","version":"1.0.0"}\n'
    listing = "/api/data/sessions"
    takes_gzip = True
    operations = Classic.operations | {"heartbeat", "crash"}
    null_deletes = True

    def create(self, body):
        """Create a session and return its id.

        A machine that creates a session has come back: its suspended sessions become crashed.

        :raises Refused: without a product and a version.
        """
        try:
            fields, _ = shapes.fill(_OPENING, go_json.read(body or b"", trailing=True))
        except go_json.NotJson:
            fields = {"product": "", "version": ""}
        if not fields["product"] or not fields["version"]:
            raise Refused("Product and version are required fields")
        session_id, now = str(uuid.uuid4()), self._clock()
        printed = timestamps.printed(now)
        state = _object([("product", fields["product"]), ("version", fields["version"])])
        with self._store.writing() as writer:
            if fields["machine_id"]:
                self._mark_crashed(writer, fields["machine_id"], now)
            writer.open(
                id=session_id,
                created_at=printed,
                updated_at=printed,
                state=state,
                machine_id=fields["machine_id"],
                hostname=fields["hostname"],
            )
        return session_id

    def _mark_crashed(self, writer, machine_id, now):
        body = _crash_event(
            timestamps.printed(now),
            "",
            {"reason": "machine_returned_session_not_resumed", "machine_id": machine_id},
        )
        for session in writer.suspended(machine_id, now - SUSPENDED_AFTER):
            writer.add(session, EVENT, body)
            writer.change(session, crashed=True)

    def _state(self, session_id, body):
        if body is None:
            raise Refused("Failed to read request body")
        given = _read(body, trailing=False)
        fields = _fitting(_STATE_V1, given)
        update = given if fields["state"] is None else fields["state"]
        self._merge(session_id, update, fields["timestamp"] or self._now())

    def _events(self, session_id, body):
        fields = _fitting(_EVENT_V1, _read(body, trailing=False))
        fields["timestamp"] = fields["timestamp"] or self._now()
        if fields["category"] in ("", "info"):
            fields["category"] = "error" if fields["exception_type"] else "info"
        hung = _HUNG.get(fields["name"])
        self._add(
            session_id,
            EVENT,
            _object(_answered(fields, _ALWAYS_IN_EVENT_V1)),
            **({} if hung is None else {"hung": hung})
        )

    def _metrics(self, session_id, body):
        fields = _fitting(_METRIC_V1, _read(body, trailing=True))
        fields["timestamp"] = fields["timestamp"] or self._now()
        fields["type"] = fields["type"] or "gauge"
        always = _ALWAYS_IN_METRIC_V1
        if fields["count"] is not None:
            always = always | {"count"}
        self._add(session_id, METRIC, _object(_answered(fields, always)))

    def _heartbeat(self, session_id, _body):
        now = self._clock()
        printed = timestamps.printed(now)
        with self._store.writing() as writer:
            writer.change(
                writer.number(session_id),
                updated_at=printed,
                last_heartbeat=printed,
                heartbeat_nanoseconds=now,
            )

    def _crash(self, session_id, body):
        try:
            fields, fits = shapes.fill(_CRASH, go_json.read(body or b"", trailing=True))
        except go_json.NotJson:
            fits = False
        now = self._now()
        event = _crash_event(
            now, "critical", {"reason": fields["reason"] if fits else "abnormal_termination"}
        )
        self._add(session_id, EVENT, event, ended_at=now, crashed=True, hung=False)

    def _session(self, reader, row):
        suspended = self._suspended(row)
        yield _head(
            [
                ("id", row.id),
                ("created_at", row.created_at),
                ("updated_at", row.updated_at),
                ("ended_at", row.ended_at or None),
                ("last_heartbeat", row.last_heartbeat or None),
                ("active", not (suspended or row.crashed or row.ended_at)),
                ("suspended", suspended),
                ("crashed", row.crashed),
                ("hung", row.hung),
                ("machine_id", row.machine_id or None),
                ("hostname", row.hostname or None),
            ]
        )
        yield f',"state":{row.state},"state_history":'
        yield from _list(reader.bodies(row.number, STATE))
        yield ',"events":'
        yield from _list(reader.bodies(row.number, EVENT))
        yield ',"metrics":'
        yield from _list(reader.bodies(row.number, METRIC))
        yield "}"

    def _suspended(self, row):
        if row.crashed or row.ended_at or row.heartbeat_nanoseconds is None:
            return False
        return row.heartbeat_nanoseconds < self._clock() - SUSPENDED_AFTER


def merged(state, update, null_deletes):
    """Merge `update` into `state`, key by key, and return it; may change both."""
    for key, value in update.items():
        if value is None and null_deletes:
            state.pop(key, None)
        elif isinstance(value, dict) and isinstance(state.get(key), dict):
            merged(state[key], value, null_deletes)
        else:
            state[key] = value
    return state


def _read(body, trailing):
    try:
        return go_json.read(body or b"", trailing)
    except go_json.NotJson:
        raise Refused(_INVALID) from None


def _fitting(shape, value):
    fields, fits = shapes.fill(shape, value)
    if not fits:
        raise Refused(_INVALID)
    return fields


def _written(value):
    try:
        return go_json.write(value)
    except go_json.NotJson:
        raise Refused(_INVALID) from None


def _object(fields):
    try:
        return go_json.write_fields(fields)
    except go_json.NotJson:
        raise Refused(_INVALID) from None


def _answered(fields, always):
    return [(name, value) for name, value in fields.items() if value or name in always]


def _crash_event(at, category, data):
    return _object(
        [
            ("timestamp", at),
            ("name", "session_crashed_detected"),
            ("category", category),
            ("group", ""),
            ("labels", None),
            ("message", ""),
            ("data", data),
        ]
    )


def _head(fields):
    """Return the beginning of a session's JSON, without the fields that are None."""
    return _object([field for field in fields if field[1] is not None])[:-1]


def _list(bodies):
    separator = "["
    for body in bodies:
        yield separator + body
        separator = ","
    yield "[]" if separator == "[" else "]"
