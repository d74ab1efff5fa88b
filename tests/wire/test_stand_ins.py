"""Libraries for tests that stand in for classes of urllib3, as vcrpy does, and lack some of it."""

from __future__ import absolute_import, division

import io

import requests

from datacat.wire import dialects
from datacat.wire.calls import Call
from datacat.wire.sockets import BoundedConnection


class Unconnected(object):
    """As vcrpy's connections: they connect when a request is sent."""

    sock = None

    def connect(self):
        pass


def test_a_connection_that_has_no_socket_yet_is_left_alone():
    connection = type("Connection", (BoundedConnection, Unconnected), {})()
    with Call(60):
        connection.connect()
    assert connection.sock is None


class Body(object):
    """As vcrpy's answers: no `length_remaining`, and `decode_content` by keyword only."""

    def __init__(self, content):
        self._content = io.BytesIO(content)

    def read(self, *amount, **options):
        options.pop("decode_content")
        return self._content.read(*amount, **options)

    def close(self):
        pass

    release_conn = close


def test_the_answer_of_a_stand_in_is_read(connect, monkeypatch):
    answer = requests.Response()
    answer.status_code = 200
    answer.raw = Body(b'{"status":"healthy"}')
    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", lambda *_, **__: answer)
    assert connect("http://cats").call(dialects.health()).body == b'{"status":"healthy"}'
