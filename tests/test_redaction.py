"""A secret in every place where one can stand, on its way to a real server."""

from __future__ import absolute_import, division

import json
import logging
import os
import signal
import sys

import pytest
import six
from tools import held
from tools.waiting import PATIENCE, wait_until

from datacat import DatacatClient
from datacat.integrations.logging import DatacatHandler
from datacat.records import kinds

SECRET = "s3cret"


class Account(object):
    def __init__(self, secret):
        self.secret = secret

    def __repr__(self):
        return "<Account password=%r>" % self.secret


class Refused(Exception):
    pass


def connect(host, password, why=None):
    raise Refused("no connection to %s with password=%s" % (host, why))


def raising(call):
    """Return an exception that `call` raises, with its traceback."""
    try:
        call()
    except Refused:
        return sys.exc_info()


def caused(secret):
    def fail():
        try:
            connect("db", "x", secret)
        except Refused as error:
            six.raise_from(Refused("outer"), error)

    return raising(fail)


def log_through_handler(session, secret):
    handler = DatacatHandler(session)
    logger = logging.Logger("app")
    logger.addHandler(handler)
    logger.warning("login with --password %s failed", secret, extra={"api_key": secret})


def log_in_source_line(session, secret):
    # fmt: off
    session.log_exception(exc_info=raising(lambda: connect("db", password="s3cret-source-line")))
    # fmt: on


def log_twice(session, secret):
    told = raising(lambda: connect("db", "x"))
    session.log_exception(exc_info=told)
    session.log_exception({"token": secret}, exc_info=told)


# Each with a secret of its own, "s3cret-<place>".
PLACES = {
    "data": lambda s, x: s.log_event("e", {"password": x}),
    "data-deep": lambda s, x: s.log_event("e", {"a": [{"b": ({"db_password": x},)}]}),
    "data-all-below": lambda s, x: s.log_event("e", {"credentials": {"user": [x]}}),
    "data-list": lambda s, x: s.log_event("e", {"access_tokens": [], "access_token": [x, 1]}),
    "data-number": lambda s, x: s.log_event("e", {"pwd": [1, x]}),
    "data-bytes-key": lambda s, x: s.log_event("e", {b"X-Api-Key": x.encode("ascii")}),
    "data-text-key": lambda s, x: s.log_event("e", {u"accessToken": x, u"\xe4": u"\u20ac"}),
    "data-key-itself": lambda s, x: s.log_event("e", {"https://me:%s@host/" % x: 1}),
    "data-object": lambda s, x: s.log_event("e", {"account": Account(x)}),
    "data-argv": lambda s, x: s.log_event("e", {"argv": ["run", "--password", x, "-v"]}),
    "data-headers": lambda s, x: s.log_event("e", {"headers": [(b"Cookie", x), (b"A", b"b")]}),
    "data-json": lambda s, x: s.log_event("e", {"body": json.dumps({"b": {"secret": x}})}),
    "data-json-in-json": lambda s, x: s.log_event(
        "e", {"body": json.dumps(json.dumps({"secret": 'a"' + x}))}
    ),
    "name": lambda s, x: s.log_event("token=%s" % x),
    "group": lambda s, x: s.log_event("e", group="https://me:%s@host/" % x),
    "label": lambda s, x: s.log_event("e", labels=["a:b", "password:a b " + x]),
    "message": lambda s, x: s.log_event("e", message="got secret=%s, and left" % x),
    "message-bearer": lambda s, x: s.log_event("e", message="sent Bearer %s" % x),
    "message-repr": lambda s, x: s.log_event("e", message=repr({"auth": ("me", x)})),
    "message-header": lambda s, x: s.log_event("e", message="Cookie: a=b; c=%s\n" % x),
    "source-file": lambda s, x: s.log_event("e", source=("/a?token=%s" % x, 1, None)),
    "tags": lambda s, x: s.log_metric("m", 1, tags=["a:b", "X-Api-Key:" + x]),
    "tags-dict": lambda s, x: s.log_metric("m", 1, tags={"password": x}),
    "metadata": lambda s, x: s.log_metric("m", 1, metadata={"deep": [{"private_key": x}]}),
    "state": lambda s, x: s.update_state({"Authorization": x}),
    "state-deep": lambda s, x: s.update_state({"config": {"smtp": {"passwd": x}}}),
    "exception": lambda s, x: s.log_exception(exc_info=raising(lambda: connect("db", "x", x))),
    "exception-cause": lambda s, x: s.log_exception(exc_info=caused(x)),
    "source-line": log_in_source_line,
    "extra": lambda s, x: s.log_exception({"session": {"cookie": x}}, Refused("x")),
    "extra-later": log_twice,
    "handler": log_through_handler,
    "direct-event": lambda s, x: s.client.log_event(s.session_id, "e", {"token": x}),
    "direct-metric": lambda s, x: s.client.log_metric(s.session_id, "m", 1, ["secret:" + x]),
    "direct-state": lambda s, x: s.client.update_state(s.session_id, {"direct": {"pwd": x}}),
    "direct-exception": lambda s, x: s.client.log_exception(
        s.session_id, exc_info=raising(lambda: connect("db", "x", x))
    ),
}
if six.PY2:
    # No causes.
    del PLACES["exception-cause"]


def secret_of(place):
    return "%s-%s" % (SECRET, place)


@pytest.mark.parametrize("redact", [True, False], ids=["default", "redact=False"])
def test_no_secret_of_a_call_reaches_the_server_unless_the_application_says_so(
    redact, any_collector, open_session
):
    options = {} if redact else {"redact": False}
    session = open_session(any_collector.url, product="secrets %s" % redact, **options)
    for place in sorted(PLACES):
        if not place.startswith("direct"):
            PLACES[place](session, secret_of(place))
    assert session.flush(PATIENCE)
    for place in sorted(PLACES):
        if place.startswith("direct"):
            PLACES[place](session, secret_of(place))
    there = json.dumps(session.get_details(PATIENCE))
    told = [place for place in sorted(PLACES) if secret_of(place) in there]
    assert told == ([] if redact else sorted(PLACES))
    assert redact is (SECRET not in there) and redact is ("[redacted]" in there)


def add_secret(kind, fields):
    """A `before_record` that adds a secret to all that the library says itself."""
    if kind == "event" and "_" in fields["name"]:
        return dict(fields, data=dict(fields["data"], password=secret_of(fields["name"])))
    return {"reason": "token=" + SECRET} if kind == "crash" else fields


def whole_sessions(collector):
    return [collector.session(each["id"]) for each in collector.sessions()]


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_no_secret_is_in_what_the_library_says_itself(
    any_fresh_collector, run_program, open_session
):
    """Also not if `before_record` puts it there, for redaction comes after it."""
    run_program(
        u"""
import datacat, os, signal
session = datacat.create_session(connect_wait=30)
session.log_event("first")
assert session.flush(30)
os.kill(os.getpid(), signal.SIGKILL)
""",
        any_fresh_collector.url,
    ).wait(expect=-signal.SIGKILL)
    session = open_session(any_fresh_collector.url, before_record=add_secret)
    session._membership.give_up(kinds.EVENT)
    session.start_heartbeat_monitor(timeout=0.2, check_interval=0.1)

    def is_told():
        return "application_appears_hung" in held.names(session.get_details(PATIENCE))

    wait_until(is_told)
    session.end(PATIENCE)
    crash = held.crash_report(any_fresh_collector)
    wait_until(lambda: crash in json.dumps(whole_sessions(any_fresh_collector)))
    sessions = whole_sessions(any_fresh_collector)
    names = [name for there in sessions for name in held.names(there)]
    assert {"datacat_records_dropped", "application_appears_hung", crash} <= set(names)
    there = json.dumps(sessions)
    assert SECRET not in there and there.count("[redacted]") >= 3


def test_words_of_the_application_are_hidden_besides_the_lists(collector, open_session):
    session = open_session(collector.url, redact=(u"IBAN", u"pin", u"gehei\xdfn\xfcmmer"))
    session.log_event(
        "e",
        {
            "customer-iban": SECRET,
            "userPin": SECRET,
            "password": SECRET,
            u"GEHEI\xdfN\xdcMMER": SECRET,
            "spin": "fast",
        },
        message="iban=%s" % SECRET,
    )
    (event,) = session.get_details(PATIENCE)["events"]
    assert SECRET not in json.dumps(event)
    assert event["data"]["spin"] == "fast" and len(event["data"]) == 5


def test_a_key_can_still_be_deleted_from_a_v1_servers_state(collector, open_session):
    """None is no secret."""
    session = open_session(collector.url)
    session.update_state({"token": "x", "left": 1})
    assert session.get_details(PATIENCE)["state"]["token"] == "[redacted]"
    session.update_state({"token": None})
    assert "token" not in session.get_details(PATIENCE)["state"]


def test_an_open_hides_secrets_too(any_collector):
    with DatacatClient(any_collector.url, product="p", version="token=" + SECRET) as client:
        there = client.get_session(client.create_session())
    assert SECRET not in json.dumps(there)
