"""Network (28, 29): keys, and what an environment adds to requests."""
from __future__ import absolute_import, division

import time

import pytest
from tools.trial import Trial

import datacat
from datacat import DatacatClient

NAME = "127.0.0.1"
RECORDS = 20
KEY = "right-key-0123456789"


def test_what_a_wrong_key_kept_waiting_arrives_with_the_right_one_in_a_new_run(
        make_collector, tmp_path):
    """Kept: 401 makes no dead letter; one clear warning, without the key."""
    server = make_collector(api_key=KEY).start()
    trial = Trial(tmp_path, server, server.url)
    try:
        trial.start(RECORDS, farewell="close", patience=0.5, connect_wait=0,
                    api_key="wrong-key-0123456789")
        trial.said("LOGGED")
        time.sleep(0.5)
        stats, = trial.leave(patience=0.5)
        assert stats["waiting"] == RECORDS + 1 and not stats["dead"]
        assert "401" in stats["last_error"]
        assert "wrong-key" not in trial.application.output
        trial.start(RECORDS, api_key=KEY)
        trial.await_arrived()
        trial.leave()
    finally:
        trial.close()
    trial.check()
    trial.check_no_losses()


def test_netrc_and_proxy_variables_replace_neither_key_nor_server(make_collector, tmp_path):
    """Trust: the key is the one that was given; a dead proxy keeps records, and loses none."""
    server = make_collector(api_key=KEY).start()
    netrc = tmp_path / ".netrc"
    netrc.write_text(u"machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    home = {"HOME": str(tmp_path), "NETRC": str(netrc)}
    dead = dict(home, http_proxy="http://127.0.0.1:9", no_proxy="")
    trial = Trial(tmp_path, server, server.url)
    try:
        trial.start(RECORDS, env=dead, farewell="close", patience=0.5, api_key=KEY)
        stats, = trial.leave(patience=0.5)
        assert stats["waiting"] == RECORDS + 1, stats
        trial.start(RECORDS, env=dict(home, http_proxy="http://127.0.0.1:9", no_proxy=NAME),
                    api_key=KEY)
        trial.await_arrived()
        trial.leave()
    finally:
        trial.close()
    trial.check()
    trial.check_no_losses()


@pytest.mark.parametrize("options", [
    {"base_url": "http://127.0.0.1:8080/\r\nX-Evil: 1"},
    {"base_url": "http://127.0.0.1:8080/a b"},
    {"base_url": "http://somebody:secret@127.0.0.1:8080"},
    {"api_key": "key\r\nX-Evil: 1"},
    {"api_key": u"\u20ac"},
], ids=repr)
def test_an_address_or_key_that_would_change_the_request_is_refused_at_once(options):
    """Trust: the programmer's fault is told where it is made, and the key is not repeated."""
    with pytest.raises(datacat.InvalidSettings) as caught:
        datacat.create_session(**options)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_an_odd_session_id_changes_no_request(v1_proxy):
    """Trust: ids are percent-encoded into the path, whatever is in them."""
    odd = u"../a?b#c\r\nX-Evil: 1 \u20ac"
    with DatacatClient(v1_proxy.url) as client:
        with pytest.raises(datacat.DatacatError):
            client.log_event(odd, "step", {})
    path = v1_proxy.log[-1].path
    assert path == ("/api/sessions/..%2Fa%3Fb%23c%0D%0AX-Evil%3A%201%20%E2%82%AC/events")
    assert not v1_proxy.log[-1].applied
