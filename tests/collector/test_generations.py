"""What the passing of time does to sessions, with a clock that the test sets."""

import pytest

from datacat.collector import generations
from datacat.collector.app import create_app
from datacat.collector.store import Store

SECOND = 10**9
START = 1767323045 * SECOND
PRINTED_START = "2026-01-02T03:04:05Z"


class Clock(object):
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def pass_seconds(self, seconds):
        self.now += int(seconds * SECOND)


class Asked(object):
    """The application, called in process on the test's clock."""

    def __init__(self, app):
        self._http = app.test_client()

    def create(self, **fields):
        answer = self._http.post(
            "/api/sessions", json=dict({"product": "p", "version": "1"}, **fields)
        )
        return answer.get_json()["session_id"]

    def post(self, session_id, operation, body=None):
        answer = self._http.post(f"/api/sessions/{session_id}/{operation}", json=body or {})
        assert (answer.status_code, answer.text) == (200, '{"status":"ok"}\n')

    def session(self, session_id):
        return self._http.get(f"/api/sessions/{session_id}").get_json()

    def status(self, session_id):
        """Return (active, suspended, crashed), which GET and the listing must agree on."""
        session = self.session(session_id)
        listed = [
            each
            for each in self._http.get("/api/data/sessions").get_json()
            if each["id"] == session_id
        ]
        assert listed == [session]
        return session["active"], session["suspended"], session["crashed"]


ACTIVE, SUSPENDED, CRASHED = (True, False, False), (False, True, False), (False, False, True)
ENDED = (False, False, False)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def asked(tmp_path, clock):
    store = Store(str(tmp_path / "c.db"), "v1")
    yield Asked(create_app(generations.V1(store, clock)))
    store.close()


def test_a_session_whose_heartbeats_stop_for_60_seconds_is_suspended(asked, clock):
    session = asked.create()
    asked.post(session, "heartbeat")
    clock.pass_seconds(60)
    assert asked.status(session) == ACTIVE
    clock.pass_seconds(0.001)
    assert asked.status(session) == SUSPENDED
    asked.post(session, "events", {"name": "no heartbeat"})
    assert asked.status(session) == SUSPENDED
    asked.post(session, "heartbeat")
    assert asked.status(session) == ACTIVE


def test_a_session_that_never_got_a_heartbeat_stays_active(asked, clock):
    session = asked.create()
    clock.pass_seconds(10**6)
    assert asked.status(session) == ACTIVE
    assert "last_heartbeat" not in asked.session(session)


@pytest.mark.parametrize("last, status", [("end", ENDED), ("crash", CRASHED)])
def test_a_session_that_is_over_is_not_suspended(asked, clock, last, status):
    session = asked.create()
    asked.post(session, "heartbeat")
    asked.post(session, last)
    clock.pass_seconds(61)
    assert asked.status(session) == status
    asked.post(session, "heartbeat")
    assert asked.status(session) == status


def test_only_a_machines_suspended_sessions_crash_when_it_comes_back(asked, clock):
    lost, ended, unbeaten, elsewhere, nowhere = (
        asked.create(machine_id=machine) for machine in ("m", "m", "m", "other", "")
    )
    for session in (lost, ended, elsewhere, nowhere):
        asked.post(session, "heartbeat")
    asked.post(ended, "end")
    clock.pass_seconds(30)
    living = asked.create(machine_id="m")
    asked.post(living, "heartbeat")
    clock.pass_seconds(31)
    asked.create(machine_id="m", product="another")
    assert asked.status(lost) == CRASHED
    assert [
        asked.status(session) for session in (ended, unbeaten, elsewhere, nowhere, living)
    ] == [ENDED, ACTIVE, SUSPENDED, SUSPENDED, ACTIVE]
    held = asked.session(lost)
    assert held["events"] == [
        {
            "timestamp": "2026-01-02T03:05:06Z",
            "name": "session_crashed_detected",
            "category": "",
            "group": "",
            "labels": None,
            "message": "",
            "data": {"machine_id": "m", "reason": "machine_returned_session_not_resumed"},
        }
    ]
    assert "ended_at" not in held
    asked.create(machine_id="m")
    assert len(asked.session(lost)["events"]) == 1


def test_a_second_end_moves_the_time_of_the_end(asked, clock):
    session = asked.create()
    asked.post(session, "end")
    assert asked.session(session)["ended_at"] == PRINTED_START
    clock.pass_seconds(1.5)
    asked.post(session, "end")
    assert asked.session(session)["ended_at"] == "2026-01-02T03:04:06.5Z"


@pytest.mark.parametrize("operation", ["events", "metrics", "state", "end", "heartbeat", "crash"])
def test_every_operation_moves_the_time_of_the_last_change(asked, clock, operation):
    session = asked.create()
    clock.pass_seconds(1)
    asked.post(session, operation)
    held = asked.session(session)
    assert (held["created_at"], held["updated_at"]) == (PRINTED_START, "2026-01-02T03:04:06Z")


def test_a_crash_without_a_reason_has_an_empty_one(asked):
    session = asked.create()
    asked.post(session, "crash", {})
    assert asked.session(session)["events"][0]["data"] == {"reason": ""}


@pytest.mark.parametrize(
    "null_deletes, expected",
    [
        (True, {"a": {"c": 1}, "new": {"n": None}}),
        (False, {"a": {"b": None, "c": 1}, "gone": None, "new": {"n": None}}),
    ],
)
def test_states_merge_deeply(null_deletes, expected):
    state = {"a": {"b": 1}, "gone": [1]}
    update = {"a": {"b": None, "c": 1}, "gone": None, "new": {"n": None}}
    assert generations.merged(state, update, null_deletes) == expected
