"""Network (28, 29): keys, addresses, and settings from the environment."""

from __future__ import absolute_import, division

import pytest
from requests.utils import get_netrc_auth
from tools.scripted_server import ScriptedServer, answer, answering
from tools.trial import Trial
from tools.waiting import wait_until

import datacat
from datacat import DatacatClient

NAME = "127.0.0.1"
RECORDS = 20
HEALTH = b'{"service":"datacat-server","status":"healthy","version":"1.0.0"}\n'
KEY = "right-key-0123456789"


def test_records_of_a_run_with_a_wrong_key_arrive_in_a_run_with_the_right_one(
    make_collector, tmp_path
):
    """Kept: a 401 makes no dead letter, and one clear warning without the key."""
    server = make_collector(api_key=KEY).start()
    trial = Trial(tmp_path, server, server.url)
    try:
        trial.start(
            RECORDS, farewell="close", patience=0.5, connect_wait=0, api_key="wrong-key-0123456789"
        )
        trial.said("LOGGED")
        wait_until(lambda: trial.warnings())
        (stats,) = trial.leave(patience=0.5)
        assert stats["waiting"] == RECORDS + 1 and not stats["dead"]
        (warning,) = trial.warnings()
        assert "401" in stats["last_error"] and "401" in warning and "api_key" in warning
        assert "wrong-key" not in trial.application.output
        trial.start(RECORDS, api_key=KEY)
        trial.await_arrived()
        trial.leave()
    finally:
        trial.close()
    trial.check()
    trial.check_no_losses()


def test_netrc_and_proxy_variables_replace_neither_key_nor_server(
    make_collector, tmp_path, monkeypatch
):
    """Trust: the given key is used; with a dead proxy records wait, and none is lost."""
    server = make_collector(api_key=KEY).start()
    netrc = tmp_path / ".netrc"
    netrc.write_text(u"machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    home = {"HOME": str(tmp_path), "NETRC": str(netrc), "NO_PROXY": ""}
    dead = dict(home, http_proxy="http://127.0.0.1:9", no_proxy="")
    monkeypatch.setenv("NETRC", str(netrc))
    assert get_netrc_auth(server.url) == ("somebody", "else")
    trial = Trial(tmp_path, server, server.url)
    try:
        trial.start(RECORDS, env=dead, farewell="close", patience=0.5, api_key=KEY)
        (stats,) = trial.leave(patience=0.5)
        assert stats["waiting"] == RECORDS + 1, stats
        trial.start(
            RECORDS, env=dict(home, http_proxy="http://127.0.0.1:9", no_proxy=NAME), api_key=KEY
        )
        trial.await_arrived()
        trial.leave()
    finally:
        trial.close()
    trial.check()
    trial.check_no_losses()


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "http://127.0.0.1:8080/\r\nX-Evil: 1"},
        {"base_url": "http://127.0.0.1:8080/a b"},
        {"base_url": u"http://127.0.0.1:8080/\u2028"},
        {"base_url": "http://somebody:secret@127.0.0.1:8080"},
        {"api_key": "secret\r\nX-Evil: 1"},
        {"api_key": "secret\x00"},
        {"api_key": u"secret\u20ac"},
    ],
    ids=repr,
)
def test_an_address_or_key_that_would_change_the_request_is_refused_at_once(options):
    """Trust: the error is raised at once, and does not show the key."""
    with pytest.raises(datacat.InvalidSettings) as caught:
        datacat.create_session(**options)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_non_ascii_key_and_address_arrive_unchanged():
    """Trust: the path is percent-encoded, the key sent byte for byte."""
    key = u"schl\u00fcssel-0123456789"
    with ScriptedServer(answering(answer(body=HEALTH), answer())) as server:
        with DatacatClient(server.url + u"/\u00e4", api_key=key) as client:
            client.log_event("id", "step", {})
        (request,) = [each for each in server.requests if each.method == "POST"]
    assert request.path == "/%C3%A4/api/sessions/id/events"
    assert request.headers["authorization"] == u"Bearer " + key


def test_an_odd_session_id_changes_no_request(v1_proxy):
    """Trust: any id is percent-encoded into the path."""
    odd = u"../a?b#c\r\nX-Evil: 1 \u20ac"
    with DatacatClient(v1_proxy.url) as client:
        with pytest.raises(datacat.DatacatError):
            client.log_event(odd, "step", {})
    path = v1_proxy.log[-1].path
    assert path == ("/api/sessions/..%2Fa%3Fb%23c%0D%0AX-Evil%3A%201%20%E2%82%AC/events")
    assert not v1_proxy.log[-1].applied
