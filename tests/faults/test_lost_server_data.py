"""Network (30): sessions are opened again on a server that lost its data."""

from __future__ import absolute_import, division

import itertools
import os

import pytest
from tools.call_times import check_calls
from tools.faults import Fault, is_write
from tools.invariants import read_accepted
from tools.merged_state import merge
from tools.report import comparable


@pytest.fixture
def server(own_server):
    """A collector of the test's own, because the test kills it."""
    return own_server


def lose_data(server):
    """Kill the server and start it with an empty database."""
    server.kill()
    for suffix in ("", "-wal", "-shm", "-journal"):
        if os.path.exists(server.db + suffix):
            os.remove(server.db + suffix)
    server.start()


class LoseData(Fault):
    """The server loses its data just before it gets the request; `lost_ids`: its sessions."""

    name = "lose data"

    def __init__(self, server):
        self._server = server
        self.lost_ids = None

    def play(self, exchange):
        self.lost_ids = set(each["id"] for each in self._server.sessions())
        lose_data(self._server)
        exchange.strike(self.name)
        return Fault.play(self, exchange)


def applied_writes(proxy):
    return [seen for seen in proxy.log if seen.applied and is_write(seen)]


def mark_of_state(session):
    """Return the mark of the last update of a session's state."""
    return (session["state"] or {}).get("mark")


def test_a_server_that_lost_its_data_gets_every_session_and_all_later_records(
    trial, proxy, scaled
):
    """Kept: each is reopened once, with its merged state first; all later records arrive."""
    sessions = scaled(2, 8)
    records = 100 * sessions
    losing, writes = LoseData(trial.server), itertools.count(1)
    # In the middle, however fast the application and the server are.
    proxy.rule(losing, lambda seen: is_write(seen) and next(writes) > records // 4, times=1)
    trial.start(records, sessions=sessions, seconds_between=0.01)
    trial.await_drained(within=300)
    trial.leave()
    assert proxy.struck[losing.name] == 1
    lost_ids = losing.lost_ids
    delivered_before = [
        seen
        for seen in proxy.log
        if seen.applied and seen.path.split("/")[3:4] and seen.path.split("/")[3] in lost_ids
    ]
    assert len([seen for seen in delivered_before if is_write(seen)]) == records // 4
    check_what_is_there(trial, delivered_before, lost_ids)
    check_calls([trial.accepted])
    trial.check_no_losses()


def check_what_is_there(trial, delivered_before, lost_ids):
    """Check that every record is on the new server, or was delivered to the old one."""
    report = trial.compare()
    bodies = b"".join(seen.body for seen in delivered_before)
    gone = [
        mark
        for mark, call in report.calls.items()
        if call.kind != "state" and mark not in report.arrived
    ]
    assert all(mark.encode("ascii") in bodies for mark in gone)
    for kind in ("twice", "out_of_order", "split", "mixed"):
        assert not report.deviations[kind], str(report)
    there = trial.sessions()
    reopened = [
        event
        for session in there
        for event in session["events"]
        if event["name"] == "session_reopened"
    ]
    assert set(event["data"]["lost_session_id"] for event in reopened) == lost_ids
    states = dict((state["mark"], state) for state in merged_states(trial))
    assert sorted(mark_of_state(session) for session in there) == sorted(states)
    for session in there:
        expected = states[mark_of_state(session)]
        # v1 adds the product and version of a session to its state.
        assert (
            dict(
                (key, value)
                for key, value in comparable(session["state"]).items()
                if key in expected or key not in ("product", "version")
            )
            == expected
        )


def merged_states(trial):
    """Return the result of each session's accepted updates."""
    merged = {}
    for call in read_accepted([trial.accepted]).values():
        if call.kind == "state":
            merged[call.session] = merge(
                merged.get(call.session, {}), comparable(call.fields), not trial.server.classic
            )
    return list(merged.values())
