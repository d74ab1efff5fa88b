"""Promises about answers with interim ones before them, and about encoded bodies."""

from __future__ import absolute_import, division

import gzip
import io
import zlib

import pytest
from tools.scripted_server import ScriptedServer, answer, answering

from datacat.errors import OutcomeUnknown
from datacat.wire import parsing
from datacat.wire.dialects import Request

READ = Request("GET", "/api/sessions/1", None, True)
EVENT = Request("POST", "/api/sessions/1/events", b"{}", False)
BODY = b'{"id":"1","text":"' + b"x" * 3000 + b'"}'


def gzipped(body):
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as packer:
        packer.write(body)
    return packed.getvalue()


def raw_deflated(body):
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


ENCODED = {
    "gzip": ("gzip", gzipped),
    "x-gzip": ("x-gzip", gzipped),
    "deflate": ("deflate", zlib.compress),
    "deflate without a header": ("deflate", raw_deflated),
}


def encoded(name, body):
    encoding, encode = ENCODED[name]
    return answer(200, encode(body), [("Content-Encoding", encoding)])


# Interim answers


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
    ],
    ids=["100", "102", "103"],
)
@pytest.mark.parametrize("count", [1, 3])
def test_interim_answers_are_read_past_and_each_request_gets_its_own_answer(
    connect, interim, count
):
    def play(server, connection):
        for number, _ in enumerate(server.requests_on(connection)):
            connection.sendall(interim * count + answer(body=b"%d" % number))

    with ScriptedServer(play) as server:
        wire = connect(server)
        assert [wire.call(READ).body for _ in range(3)] == [b"0", b"1", b"2"]
        assert server.connections == 1


def test_interim_answers_without_end_are_no_answer(connect):
    def play(server, connection):
        for _ in server.requests_on(connection):
            connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)

    with ScriptedServer(play) as server:
        pytest.raises(OutcomeUnknown, connect(server).call, READ)


# Encoded bodies


@pytest.mark.parametrize("name", sorted(ENCODED))
def test_an_encoded_body_that_nobody_asked_for_is_decoded(connect, name):
    with ScriptedServer(answering(encoded(name, BODY))) as server:
        wire = connect(server)
        assert wire.call(READ).body == BODY
        assert wire.call(READ, limit=None).body == BODY
        assert wire.call_all([EVENT, EVENT])[0][1].body == BODY
        pieces = []
        wire.call(READ, limit=None, on_chunk=pieces.append)
        assert b"".join(pieces) == BODY


@pytest.mark.parametrize("name", sorted(ENCODED))
def test_every_length_of_body_is_decoded_whole(name):
    """The decoder may hold back some bytes when it has read all that there is."""
    encoding, encode = ENCODED[name]
    for length in list(range(16300, 16800, 7)) + [32768, 49152, 65536]:
        for amount in (None, 10**6):
            more = io.BytesIO(encode(b"x" * length)).read
            assert len(parsing.Decoder(encoding).read(amount, more)) == length


@pytest.mark.parametrize("name", sorted(ENCODED))
def test_an_error_page_that_is_encoded_can_be_quoted(connect, name):
    encoding, encode = ENCODED[name]
    page = answer(400, encode(b"Invalid request body"), [("Content-Encoding", encoding)])
    with ScriptedServer(answering(page)) as server:
        assert connect(server).call(EVENT).body == b"Invalid request body"


@pytest.mark.parametrize("name", sorted(ENCODED))
def test_a_bomb_is_not_unpacked_beyond_the_limit(connect, name):
    with ScriptedServer(answering(encoded(name, b"0" * 50000000))) as server:
        wire = connect(server)
        error = pytest.raises(OutcomeUnknown, wire.call, READ).value
        assert "larger than the limit" in str(error)
        wire.call(READ.__class__("GET", "/health", None, True), on_chunk=lambda piece: True)
        received = []
        wire.call(READ, limit=None, on_chunk=lambda piece: received.append(len(piece)) or True)
        assert received == [4 * 1024]
        found, error = wire.call_all([EVENT])
        assert found == [] and (error is None or "larger than the limit" in str(error))


def test_a_damaged_encoded_body_is_no_answer(connect):
    damaged = answer(200, b"certainly not gzip", [("Content-Encoding", "gzip")])
    with ScriptedServer(answering(damaged)) as server:
        wire = connect(server)
        error = pytest.raises(OutcomeUnknown, wire.call, READ).value
        assert "cannot be decoded" in str(error)
        assert isinstance(wire.call_all([EVENT])[1], (OutcomeUnknown, type(None)))
