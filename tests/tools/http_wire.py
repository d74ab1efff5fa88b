"""HTTP/1.1 messages as bytes on a socket (RFC 9112), as far as a proxy must understand them.

Nothing is decoded or corrected: what was read can be passed on byte for byte.
"""

from __future__ import absolute_import, division

import collections

PIECE = 65536
LONGEST_HEAD = 1024 * 1024

Request = collections.namedtuple("Request", "method path headers head body")
Response = collections.namedtuple("Response", "status headers head body keeps_open")


class BrokenMessage(Exception):
    """The peer closed in the middle of a message, or does not speak HTTP/1.1."""


class CutBody(BrokenMessage):
    """A request has a larger body than may be read."""


class Wire(object):
    """A connected socket, read message by message."""

    def __init__(self, connection):
        self.socket = connection
        self._buffer = b""

    @property
    def has_more(self):
        """Whether bytes of another message were read already."""
        return bool(self._buffer)

    def read_request(self, longest_body=None):
        """Return the next Request, or None if the peer has closed.

        longest_body: after so many bytes of a larger body, raise CutBody.
        """
        head = self._read_head()
        if head is None:
            return None
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3:
            raise BrokenMessage("not a request: %.200r" % head)
        headers = _headers(head)
        if "transfer-encoding" in headers:
            raise BrokenMessage("a request with Transfer-Encoding, which the client never sends")
        size = int(headers.get("content-length", 0))
        if longest_body is not None and size > longest_body:
            self._read_exactly(longest_body)
            raise CutBody("%d bytes of a body" % size)
        body = self._read_exactly(size)
        return Request(words[0].decode("ascii"), words[1].decode("latin-1"), headers, head, body)

    def read_response(self, method):
        """Return the Response to a request with `method`; its body is as on the wire."""
        head = self._read_head()
        if head is None:
            raise BrokenMessage("the server closed without an answer")
        words = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1."):
            raise BrokenMessage("not a response: %.200r" % head)
        status = int(words[1])
        headers = _headers(head)
        keeps_open = headers.get("connection", "").lower() != "close" and words[0] == b"HTTP/1.1"
        if method == "HEAD" or status in (204, 304):
            return Response(status, headers, head, b"", keeps_open)
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return Response(status, headers, head, self._read_chunks(), keeps_open)
        if "content-length" in headers:
            body = self._read_exactly(int(headers["content-length"]))
            return Response(status, headers, head, body, keeps_open)
        return Response(status, headers, head, self._read_to_end(), False)

    def _read_head(self):
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > LONGEST_HEAD:
                raise BrokenMessage("a head of over %d bytes" % LONGEST_HEAD)
            if not self._read_more():
                if self._buffer:
                    raise BrokenMessage("closed in the middle of a head")
                return None
        end = self._buffer.index(b"\r\n\r\n") + 4
        return self._take(end)

    def _read_exactly(self, size):
        pieces = [self._buffer]
        have = len(self._buffer)
        while have < size:
            piece = self.socket.recv(PIECE)
            if not piece:
                raise BrokenMessage("closed after %d of %d bytes of a body" % (have, size))
            pieces.append(piece)
            have += len(piece)
        self._buffer = b"".join(pieces)
        return self._take(size)

    def _read_line(self):
        while b"\r\n" not in self._buffer:
            if not self._read_more():
                raise BrokenMessage("closed in the middle of a chunked body")
        return self._take(self._buffer.index(b"\r\n") + 2)

    def _read_chunks(self):
        pieces = []
        while True:
            line = self._read_line()
            pieces.append(line)
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            pieces.append(self._read_exactly(size + 2))
        while pieces[-1] != b"\r\n":
            pieces.append(self._read_line())
        return b"".join(pieces)

    def _read_to_end(self):
        while self._read_more():
            pass
        return self._take(len(self._buffer))

    def _read_more(self):
        piece = self.socket.recv(PIECE)
        self._buffer += piece
        return bool(piece)

    def _take(self, size):
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


def _headers(head):
    headers = {}
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            headers[name.strip().decode("latin-1").lower()] = value.strip().decode("latin-1")
    return headers
