# -*- coding: utf-8 -*-
"""The invariants: every deviation is found, and nothing else."""

from __future__ import absolute_import, division

import json

import pytest

from tools.invariants import check_invariants, compare, read_accepted
from tools.merged_state import merge


def written(tmp_path, *calls):
    """Write an accepted file.  A call: (mark, kind, fields[, outcome[, began, ended]])."""
    path = tmp_path / "accepted.jsonl"
    lines = []
    for number, call in enumerate(calls):
        mark, kind, fields, outcome, began, ended = (
            tuple(call) + ("returned", number, number + 0.5)[len(call) - 3 :]
        )
        lines.append({"trying": mark, "session": "local-1", "kind": kind, "fields": fields})
        if outcome != "unfinished":
            lines.append({outcome: mark, "began": began, "ended": ended, "asked": 0.0})
    path.write_text(u"".join(u"%s\n" % json.dumps(line) for line in lines))
    return [path]


def event(mark, **fields):
    return (mark, "event", dict(fields, name="e", data={"mark": mark}))


def metric(mark, value=1, **fields):
    return (mark, "metric", dict(fields, name="m", value=value, tags=["mark:" + mark]))


def state(mark, **fields):
    return (mark, "state", dict(fields, mark=mark))


def server_session(*calls, **fields):
    """Return a classic session with just these calls, in this order."""
    merged = {}
    for call in calls:
        if call[1] == "state":
            merged = merge(merged, call[2], null_deletes=False)
    session = {
        "id": "server-1",
        "state": merged,
        "events": [dict(call[2]) for call in calls if call[1] != "metric" and call[1] != "state"],
        "metrics": [dict(call[2]) for call in calls if call[1] == "metric"],
    }
    session.update(fields)
    return session


def v1_session(*calls):
    """Return a v1 session with just these calls, and the history of its states."""
    session = server_session(*calls)
    merged = {"product": "p", "version": "1"}
    history = []
    for call in calls:
        if call[1] == "state":
            merged = merge(merged, call[2], null_deletes=True)
            history.append({"timestamp": "t" + call[0], "state": merged})
    session.update(state=merged, state_history=history)
    return session


BOTH = pytest.mark.parametrize("session_of", [server_session, v1_session])


def deviations(files, *sessions):
    found = compare(files, sessions).deviations
    return dict((kind, len(texts)) for kind, texts in found.items() if texts)


@BOTH
def test_records_that_arrived_once_in_order_are_no_deviation(tmp_path, session_of):
    calls = [
        event("a"),
        metric("b"),
        state("c", x={"y": 1}),
        event("d"),
        metric("e"),
        state("f", x={"z": 2}),
        (
            "g",
            "exception",
            {"name": "exception", "data": {"mark": "g", "type": "E", "message": "m"}},
        ),
    ]
    report = check_invariants(written(tmp_path, *calls), [session_of(*calls)])
    assert report.accepted == 7
    assert sorted(report.arrived) == list("abcdefg")


@BOTH
@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_record_that_did_not_arrive_is_lost(tmp_path, session_of, gone):
    calls = [event("a"), metric("b"), state("c"), event("d")]
    there = calls[:gone] + calls[gone + 1 :]
    found = deviations(written(tmp_path, *calls), session_of(*there))
    classic_state = session_of is server_session and gone == 2
    assert found == ({"different": 1} if classic_state else {"lost": 1})


def test_without_sessions_on_the_server_all_is_lost(tmp_path):
    assert deviations(written(tmp_path, event("a"), state("b"))) == {"lost": 2}


@BOTH
@pytest.mark.parametrize("make", [event, metric])
def test_a_copy_is_twice(tmp_path, session_of, make):
    files = written(tmp_path, make("a"), make("b"))
    assert deviations(files, session_of(make("a"), make("b"), make("a"))) == {"twice": 1}


def test_a_state_applied_again_is_twice(tmp_path):
    files = written(tmp_path, state("a", x=1), state("b", x=2))
    there = v1_session(state("a", x=1), state("b", x=2), state("b", x=2))
    assert deviations(files, there) == {"twice": 1}


@BOTH
@pytest.mark.parametrize("make", [event, metric])
def test_a_record_that_arrived_before_an_earlier_one_is_out_of_order(tmp_path, session_of, make):
    files = written(tmp_path, make("a"), make("b"), make("c"))
    assert deviations(files, session_of(make("b"), make("a"), make("c"))) == {"out_of_order": 1}


def test_states_out_of_order_are_seen_in_the_history_of_v1(tmp_path):
    files = written(tmp_path, state("a", x=1), state("b", x=2))
    assert deviations(files, v1_session(state("b", x=2), state("a", x=1))) == {"out_of_order": 1}


def test_states_out_of_order_are_seen_in_the_outcome_on_classic(tmp_path):
    files = written(tmp_path, state("a", x=1), state("b", x=2))
    assert deviations(files, server_session(state("b", x=2), state("a", x=1))) == {"different": 1}


def test_calls_that_overlapped_have_no_order(tmp_path):
    files = written(tmp_path, event("a") + ("returned", 0, 5), event("b") + ("returned", 1, 2))
    assert deviations(files, server_session(event("b"), event("a"))) == {}


def test_a_call_that_overlapped_with_all_others_does_not_hide_their_order(tmp_path):
    files = written(
        tmp_path,
        event("long") + ("returned", 0, 10),
        event("a") + ("returned", 1, 2),
        event("b") + ("returned", 3, 4),
    )
    there = server_session(event("b"), event("long"), event("a"))
    assert deviations(files, there) == {"out_of_order": 1}


def test_an_update_with_another_result_is_different_even_if_overwritten(tmp_path):
    calls = [state("a", x=1), state("b", x=2)]
    there = v1_session(*calls)
    there["state_history"][0]["state"] = dict(there["state_history"][0]["state"], x=5)
    assert deviations(written(tmp_path, *calls), there) == {"different": 1}


@BOTH
@pytest.mark.parametrize("changed", [{"name": "other"}, {"data": {"mark": "a", "more": 1}}])
def test_an_event_with_another_content_is_different(tmp_path, session_of, changed):
    call = event("a")
    there = ("a", "event", dict(call[2], **changed))
    assert deviations(written(tmp_path, call), session_of(there)) == {"different": 1}


def test_fields_that_only_v1_knows_are_compared_there(tmp_path):
    files = written(tmp_path, event("a", category="warning"))
    assert deviations(files, v1_session(event("a", category="info"))) == {"different": 1}


def test_fields_that_only_v1_knows_are_looked_for_elsewhere_on_classic(tmp_path):
    files = written(tmp_path, event("a", category="warning"), metric("b", unit="s"))
    there = server_session(event("a"), metric("b"))
    assert deviations(files, there) == {"different": 2}
    there["events"][0]["data"]["_category"] = "warning"
    there["metrics"][0]["tags"] += ["unit:s"]
    assert deviations(files, there) == {}


def test_what_a_classic_session_tells_of_itself_is_no_difference(tmp_path):
    there = server_session(state("a", k=1))
    there["state"]["product"] = "p"
    assert deviations(written(tmp_path, state("a", k=1)), there) == {}


def test_the_capture_time_added_for_classic_is_no_difference(tmp_path):
    files = written(tmp_path, event("a"), metric("b"))
    there = server_session(event("a"), metric("b"))
    there["events"][0]["data"] = {"mark": "a", "_captured_at": "2026-01-02T03:04:05Z"}
    there["metrics"][0]["tags"] = ["mark:b", "captured_at:2026-01-02T03:04:05Z"]
    assert deviations(files, there) == {}


def test_a_capture_time_in_the_content_is_a_difference_on_v1(tmp_path):
    there = v1_session(event("a"))
    there["events"][0]["data"] = {"mark": "a", "_captured_at": "2026-01-02T03:04:05Z"}
    assert deviations(written(tmp_path, event("a")), there) == {"different": 1}


def test_numbers_are_compared_as_servers_keep_them(tmp_path):
    there = server_session(metric("a", 9007199254740992.0))
    assert deviations(written(tmp_path, metric("a", 9007199254740993)), there) == {}


def test_true_is_not_one(tmp_path):
    call = ("a", "event", {"name": "e", "data": {"mark": "a", "x": True}})
    there = server_session(call)
    assert deviations(written(tmp_path, call), there) == {}
    there["events"][0]["data"] = {"mark": "a", "x": 1}
    assert deviations(written(tmp_path, call), there) == {"different": 1}


@pytest.mark.parametrize("sent, kept", [(u"\ud800x", u"\ufffdx"), (u"é😀", u"é😀")])
def test_texts_are_compared_as_servers_keep_them(tmp_path, sent, kept):
    files = written(tmp_path, ("a", "event", {"name": "e", "data": {"mark": "a", "x": sent}}))
    there = server_session(("a", "event", {"name": "e", "data": {"mark": "a", "x": kept}}))
    assert deviations(files, there) == {}


@BOTH
def test_a_record_that_no_application_logged_is_not_sent(tmp_path, session_of):
    there = session_of(event("a"), event("stranger"))
    there["metrics"] = [{"name": "m", "value": 1}]
    assert deviations(written(tmp_path, event("a")), there) == {"not_sent": 2}


@BOTH
@pytest.mark.parametrize("make", [event, metric, state])
def test_a_record_whose_call_raised_must_not_arrive(tmp_path, session_of, make):
    files = written(tmp_path, event("a"), make("b") + ("raised",))
    assert deviations(files, session_of(event("a"), make("b"))) == {"not_sent": 1}


@BOTH
@pytest.mark.parametrize("make", [event, metric, state])
def test_a_call_in_which_the_application_was_killed_may_have_arrived(tmp_path, session_of, make):
    files = written(tmp_path, event("a"), state("b", x=1), make("c") + ("unfinished",))
    assert deviations(files, session_of(event("a"), state("b", x=1))) == {}
    assert deviations(files, session_of(event("a"), state("b", x=1), make("c"))) == {}


@BOTH
def test_a_state_that_does_not_result_from_the_updates_is_different(tmp_path, session_of):
    there = session_of(state("a", x={"y": 1}))
    there["state"] = dict(there["state"], x={"y": 2})
    assert deviations(written(tmp_path, state("a", x={"y": 1})), there) == {"different": 1}


def test_null_deletes_on_v1_and_stays_on_classic(tmp_path):
    calls = [state("a", x={"y": 1, "z": 1}), state("b", x={"y": None})]
    files = written(tmp_path, *calls)
    assert deviations(files, v1_session(*calls)) == {}
    assert v1_session(*calls)["state"]["x"] == {"z": 1}
    assert deviations(files, server_session(*calls)) == {}
    assert server_session(*calls)["state"]["x"] == {"y": None, "z": 1}


def test_updates_merged_into_a_later_one_are_merged_and_not_lost(tmp_path):
    files = written(tmp_path, state("a", x=1), state("b", y=2), state("c", z=3))
    there = v1_session(state("a", x=1), state("c", y=2, z=3))
    assert deviations(files, there) == {"merged": 1}
    assert deviations(files, v1_session(state("a", x=1), state("c", z=3))) == {"lost": 1}


def test_the_clients_and_the_servers_own_events_are_counted_and_no_deviation(tmp_path):
    there = v1_session(event("a"))
    there["events"].append({"name": "session_crashed_detected", "data": {"reason": "killed"}})
    report = check_invariants(written(tmp_path, event("a")), [there])
    assert report.own == {"session_crashed_detected": 1}


def test_a_session_spread_over_two_is_split(tmp_path):
    files = written(tmp_path, event("a"), event("b"))
    other = dict(server_session(event("b")), id="server-2")
    assert deviations(files, server_session(event("a")), other) == {"split": 1}


def test_two_sessions_in_one_are_mixed(tmp_path):
    files = written(tmp_path, event("a"))
    text = files[0].read_text().replace(u"local-1", u"local-2").replace(u'"a"', u'"b"')
    files[0].write_text(files[0].read_text() + text)
    assert deviations(files, server_session(event("a"), event("b"))) == {"mixed": 1}


def test_a_session_without_records_is_counted_as_empty(tmp_path):
    empty = dict(server_session(), id="server-2")
    report = check_invariants(written(tmp_path, event("a")), [server_session(event("a")), empty])
    assert report.empty_sessions == ["server-2"]


def test_a_session_with_only_states_is_not_empty(tmp_path):
    report = check_invariants(written(tmp_path, state("a")), [server_session(state("a"))])
    assert report.empty_sessions == []


def test_deviations_are_raised_with_the_report_but_for_what_is_allowed(tmp_path):
    files = written(tmp_path, event("a"), event("b"))
    there = [server_session(event("a"), event("a"))]
    with pytest.raises(AssertionError) as caught:
        check_invariants(files, there, allow={"twice": 1})
    assert "2 accepted, 1 arrived" in str(caught.value)
    assert "lost: 1\n    event b (returned) in local-1" in str(caught.value)
    check_invariants(files, there, allow={"twice": 1, "lost": 1})


def test_an_application_that_accepted_nothing_fails(tmp_path):
    with pytest.raises(AssertionError) as caught:
        check_invariants(written(tmp_path), [server_session()])
    assert "accepted nothing" in str(caught.value)


def test_a_line_torn_by_a_kill_is_ignored(tmp_path):
    files = written(tmp_path, event("a"))
    with files[0].open("a") as stream:
        stream.write(u'{"trying": "b", "sess')
    assert list(read_accepted(files)) == ["a"]


def test_a_line_that_is_no_json_is_an_error_unless_a_kill_tore_it(tmp_path):
    files = written(tmp_path, event("a"))
    with files[0].open("a") as stream:
        stream.write(u'{"trying": "b", "sess\n{"trying": "c"}\n')
    with pytest.raises(ValueError):
        read_accepted(files)


def test_two_recorders_with_one_name_are_an_error(tmp_path):
    with pytest.raises(AssertionError) as caught:
        read_accepted(written(tmp_path, event("a"), event("a")))
    assert "name them apart" in str(caught.value)
