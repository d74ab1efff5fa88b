"""A session's calls, seen from the application and from what the server holds then."""

from __future__ import absolute_import, division

import pytest
from tools import held
from tools.waiting import wait_until

import datacat
from datacat._compat import monotonic
from datacat.process import registry

A_PORT_NOBODY_LISTENS_ON = "http://127.0.0.1:9"


def test_what_was_logged_is_what_the_server_holds(any_collector, open_session):
    session = open_session(any_collector.url)
    session.log_event("step", {"number": 1, "deep": {"list": [1, None, u"\u00e4"]}})
    session.log_metric("load", 0.5, tags=["app:tests"])
    session.update_state({"a": {"b": 1, "c": 2}})
    session.update_state({"a": {"b": 3}})
    session.log_event("bare")
    assert session.flush() is True
    there = any_collector.session(session.session_id)
    assert held.names(there) == ["step", "bare"]
    assert there["events"][0]["data"] == {"number": 1, "deep": {"list": [1, None, u"\u00e4"]}}
    assert there["events"][1]["data"] == {}
    assert [(each["name"], each["value"], each["tags"]) for each in there["metrics"]] == [
        ("load", 0.5, ["app:tests"])
    ]
    assert there["state"]["a"] == {"b": 3, "c": 2}


def test_calls_return_none_if_the_seed_says_so(collector, open_session):
    session = open_session(collector.url)
    session.start_heartbeat_monitor()
    try:
        raise ValueError("x")
    except ValueError:
        returned = [session.log_exception({"a": 1})]
    returned += [
        session.log_event("e"),
        session.log_metric("m", 1),
        session.update_state({}),
        session.heartbeat(),
        session.stop_heartbeat_monitor(),
        session.end(),
    ]
    assert returned == [None] * 7


def test_the_session_id_is_the_servers_and_the_local_id_never_changes(any_collector, open_session):
    session = open_session(any_collector.url)
    assert any_collector.session(session.session_id)["active"] is True
    assert session.local_id.startswith("local-")


def test_the_extras_of_v1_arrive_there_with_the_time_of_their_capture(collector, open_session):
    session = open_session(collector.url, product="editor", version="2.1", hostname="here")
    session.log_event("e", {"x": 1}, category="warning", group="g", labels=["l"], message="m")
    session.log_metric("m", 2, type="counter", unit="s", count=3, metadata={"k": "v"})
    there = session.get_details()
    event, metric = there["events"][0], there["metrics"][0]
    assert [event[key] for key in ("category", "group", "labels", "message")] == [
        "warning",
        "g",
        ["l"],
        "m",
    ]
    assert [metric[key] for key in ("type", "unit", "count", "metadata")] == [
        "counter",
        "s",
        3,
        {"k": "v"},
    ]
    assert event["timestamp"] < metric["timestamp"]
    assert (there["state"]["product"], there["state"]["version"], there["hostname"]) == (
        "editor",
        "2.1",
        "here",
    )


def test_classic_keeps_the_extras_in_data_tags_and_state(classic_collector, open_session):
    session = open_session(classic_collector.url, product="editor", version="2.1", hostname="here")
    session.log_event("e", {"x": 1}, category="warning", group="g", labels=["l"], message="m")
    session.log_metric("m", 2, type="counter", unit="s", count=3, metadata={"k": "v"})
    there = session.get_details()
    assert there["events"][0]["data"] == {
        "x": 1,
        "_category": "warning",
        "_group": "g",
        "_labels": ["l"],
        "_message": "m",
    }
    metric = there["metrics"][0]
    tags = ["type:counter", "unit:s", "count:3", 'metadata:{"k":"v"}']
    assert (metric["value"], metric["tags"]) == (2, tags)
    assert there["state"] == {"product": "editor", "version": "2.1", "hostname": "here"}


def test_details_of_a_session_that_logged_nothing_have_its_product(
    classic_collector, open_session
):
    session = open_session(classic_collector.url, product="editor", version="2.1")
    assert session.get_details()["state"] == {"product": "editor", "version": "2.1"}


@pytest.mark.parametrize("options", [{}, {"product": "p", "version": "1", "fold_fields": False}])
def test_classic_gets_no_more_than_the_seed_sends_unless_more_was_given(
    classic_collector, options
):
    """Without folding, what it has no field for is lost there."""
    with datacat.create_session(classic_collector.url, **options) as session:
        session.log_event("e", {"x": 1})
        there = session.get_details()
    assert there["state"] == {} and there["events"][0]["data"] == {"x": 1}


def test_folding_can_be_turned_off(classic_collector, open_session):
    session = open_session(classic_collector.url, fold_fields=False)
    session.log_event("e", {"x": 1}, message="m")
    session.log_metric("m", 2, unit="s")
    there = session.get_details()
    assert there["events"][0]["data"] == {"x": 1} and "tags" not in there["metrics"][0]


def test_a_client_folds_too(classic_collector):
    with datacat.DatacatClient(classic_collector.url) as client:
        there = client.create_session()
        client.log_event(there, "e", message="m")
        assert client.get_session(there)["events"][0]["data"] == {"_message": "m"}


def test_get_details_reads_what_was_logged_right_before(any_collector, open_session):
    session = open_session(any_collector.url)
    for number in range(20):
        session.log_event("step", {"number": number})
        assert held.numbers(session.get_details()) == list(range(number + 1))


def test_get_details_raises_if_not_everything_is_delivered(open_session):
    session = open_session(A_PORT_NOBODY_LISTENS_ON)
    session.log_event("e")
    began = monotonic()
    with pytest.raises(datacat.NotDelivered) as caught:
        session.get_details(timeout=120)
    assert monotonic() - began < 60, "it waited for its timeout, though nobody listens"
    assert "2 records" in str(caught.value) and session.local_id in str(caught.value)
    assert caught.value.retriable


def test_without_a_server_everything_is_kept_and_delivered_when_it_comes(
    make_collector, open_session
):
    collector = make_collector().start()
    collector.stop()
    began = monotonic()
    session = open_session(collector.url, connect_wait=120)
    assert monotonic() - began < 60, "it waited for its timeout, though nobody listens"
    assert session.session_id == session.local_id
    for number in range(5):
        session.log_event("step", {"number": number})
    assert session.stats()["waiting"] == 6 and session.stats()["online"] is False
    collector.start()
    wait_until(session.flush)
    assert session.session_id != session.local_id
    assert held.numbers(collector.session(session.session_id)) == list(range(5))
    assert len(collector.sessions()) == 1


def test_leaving_the_block_ends_the_session(any_collector, open_session):
    with open_session(any_collector.url) as session:
        session.log_event("e")
        assert not held.is_ended(session.get_details())
    assert held.is_ended(any_collector.session(session.session_id))


def test_an_exception_leaving_the_block_is_logged_then_reraised(any_collector, open_session):
    with pytest.raises(KeyError):
        with open_session(any_collector.url) as session:
            raise KeyError("gone")
    there = any_collector.session(session.session_id)
    assert held.event(there, "exception")["data"]["type"] == "KeyError"
    assert held.is_ended(there)


def test_an_exception_is_kept_with_its_traceback_extras_and_structure(collector, open_session):
    session = open_session(collector.url)
    try:
        raise RuntimeError(u"b\u00f6se")
    except RuntimeError:
        session.log_exception({"type": "mine", "where": "here"})
    event = held.event(session.get_details(), "exception")
    data = event["data"]
    assert (data["type"], data["message"], data["where"]) == ("RuntimeError", u"b\u00f6se", "here")
    assert "test_session.py" in data["traceback"]
    assert event["exception_type"] == "RuntimeError"
    assert event["source_file"].endswith("test_session.py")


def test_log_exception_never_raises(collector, open_session, caplog):
    class Hostile(object):
        def __repr__(self):
            raise RuntimeError("no repr")

    session = open_session(collector.url)
    session.log_exception()
    session.log_exception()
    session.log_exception(extra_data=3)
    session.log_exception(extra_data={"much": "x" * (2 << 20), "hostile": Hostile()})
    assert held.names(session.get_details()) == ["exception"] * 4
    assert caplog.text.count("log_exception was called without an exception") == 1


def test_an_exception_may_be_passed_first(collector, open_session):
    """As `logging` and other libraries take it; a dict stays the extra data."""
    session = open_session(collector.url)

    def error():
        return ValueError("passed")

    session.log_exception(error())
    session.log_exception(error(), {"a": 1})
    session.log_exception((ValueError, error(), None))
    session.log_exception({"a": 1}, error())
    told = [event["data"] for event in session.get_details()["events"]]
    assert [data["message"] for data in told] == ["passed"] * 4
    assert [data.get("a") for data in told] == [None, 1, None, 1]


@pytest.mark.parametrize(
    "call",
    [
        lambda session: session.log_event(""),
        lambda session: session.log_event(None),
        lambda session: session.log_event("e", [1]),
        lambda session: session.log_event("e", labels=[1]),
        lambda session: session.log_event("e", {"much": "x" * (1 << 20)}),
        lambda session: session.log_metric("m", "1"),
        lambda session: session.log_metric("m", float("nan")),
        lambda session: session.log_metric("m", 1, tags="app:x"),
        lambda session: session.update_state("s"),
        lambda session: session.start_heartbeat_monitor(timeout=0),
    ],
)
def test_invalid_arguments_raise_a_value_error_at_once(call, open_session):
    session = open_session(A_PORT_NOBODY_LISTENS_ON, connect_wait=0)
    with pytest.raises(datacat.InvalidArgument) as caught:
        call(session)
    assert isinstance(caught.value, ValueError)
    assert session.stats()["waiting"] == 1


def test_what_is_logged_after_the_end_arrives(any_collector, open_session):
    session = open_session(any_collector.url)
    session.log_event("before")
    session.end()
    session.log_event("after")
    there = session.get_details()
    assert held.names(there) == ["before", "after"]
    assert held.is_ended(there)


def test_end_is_sent_to_the_server_once(collector, open_session, before):
    proxy = before(collector)
    session = open_session(proxy.url)
    session.end()
    session.end()
    session.close()
    assert [seen.path.rsplit("/", 1)[1] for seen in proxy.log].count("end") == 1


def test_close_does_not_end_the_session(any_collector, open_session):
    session = open_session(any_collector.url)
    session.log_event("e")
    session.close()
    there = any_collector.session(session.session_id)
    assert held.names(there) == ["e"] and there["active"] is True


def test_after_close_the_counts_can_be_read_and_nothing_starts_again(collector, open_session):
    session = open_session(collector.url, product="closed")
    session.log_event("e")
    session.close()
    assert (session.stats()["sent"], session.stats()["waiting"]) == (2, 0)
    assert session.flush() is True
    assert "closed" not in [each.settings.product for each in registry.pipelines()]


def test_calls_after_close_open_the_outbox_again(any_collector, open_session):
    session = open_session(any_collector.url)
    session.log_event("step", {"number": 0})
    session.close()
    for number in (1, 2):
        session.log_event("step", {"number": number})
        session.close()
    session.log_event("step", {"number": 3})
    assert session.flush() and session.stats()["sent"] == 5
    session.end()
    there = any_collector.session(session.session_id)
    assert held.numbers(there) == [0, 1, 2, 3]
    assert held.is_ended(there)


def test_the_sessions_client_writes_into_the_same_session(any_collector, open_session):
    session = open_session(any_collector.url)
    session.log_event("mine")
    session.flush()
    assert session.client.log_event(session.session_id, "directly") == {"status": "ok"}
    session.log_event("mine again")
    assert held.names(session.get_details()) == ["mine", "directly", "mine again"]


def test_neither_repr_nor_stats_nor_errors_show_the_key(make_collector, open_session):
    collector = make_collector(api_key="sesame-123").start()
    session = open_session(collector.url, api_key="sesame-123")
    session.log_event("e")
    assert held.names(session.get_details()) == ["e"]
    collector.stop()
    session.log_event("f")
    with pytest.raises(datacat.NotDelivered) as caught:
        session.get_details()
    shown = repr(session) + repr(session.client) + str(session.stats()) + repr(caught.value)
    assert "sesame" not in shown and collector.url in shown
