"""Several requests on one connection, sent back to back, and their answers in order.

Belongs here: writing the requests and reading the answers, for which neither urllib3 nor
http.client has a way. Does not: connecting, how many requests go together, what an answer means.

Theory of operation

1. All requests are sent in one piece, before the first answer is read. Together they are small
   enough for the buffers on the way, so nobody waits for room while the other side does as well.
2. Each answer is parsed by http.client. All parsers share one buffered reader: one of its own
   would take in the beginning of the next answer, and drop it.
3. A server that breaks off may have answered some requests before. So an error while sending is
   not the end: what was answered is read, and reading then meets the same error.
4. An answer with `Connection: close` is the last one. The requests after it were not carried out
   (RFC 9112, 9.6).
"""

from __future__ import absolute_import, division

import six
from six.moves import http_client

from .._compat import STRICT_PARSER
from .parsing import FinalResponse


def written(method, path, host, headers, body):
    """Return a request as it is sent.

    :param method, path, host: str; the host as in a Host header.
    :param headers: {name: value}, both str.
    :param body: bytes or None.
    """
    lines = ["%s %s HTTP/1.1" % (method, path), "Host: " + host]
    lines.extend("%s: %s" % header for header in headers.items())
    return six.ensure_binary("\r\n".join(lines + ["", ""]), "latin-1") + (body or b"")


def send(sock, call, requests):
    """Send requests back to back; an error shows when the answers are read.

    :param sock: a connected `sockets.BoundedSocket`.
    :param call: the current `calls.Call`.
    :param requests: a list of bytes.
    """
    call.touched = call.handed_over = True
    try:
        sock.sendall(b"".join(requests))
    except EnvironmentError:
        # Those that were sent whole may have arrived.
        call.broken = False


class Answers(object):
    """The answers on a connection, in order; to be closed.

    :param sock: a connected `sockets.BoundedSocket`.
    :param limit: the largest body to read, in bytes.
    :ivar is_over: whether the latest answer is the connection's last one.
    """

    def __init__(self, sock, limit):
        self._reader = _Shared(sock.makefile("rb"))
        self._limit = limit
        self.is_over = False

    def close(self):
        """Give up the reader; the socket stays open."""
        self._reader.really_close()

    def read(self, method):
        """Return the next answer: (status, headers, body), and None for a body over the limit.

        :param method: of the request that is answered.
        :raises http.client.HTTPException, EnvironmentError: if no complete answer comes.
        """
        answer = FinalResponse(self._reader, method=method, **STRICT_PARSER)
        answer.begin()
        body = answer.read(self._limit + 1)
        if len(body) > self._limit:
            return answer.status, answer.msg, None
        if answer.length:
            raise http_client.IncompleteRead(body, answer.length)
        self.is_over = bool(answer.will_close)
        return answer.status, answer.msg, body


class _Shared(object):
    """A socket, as far as a parser can tell, whose file outlives the parser."""

    def __init__(self, reader):
        self._reader = reader
        self.read, self.readline = reader.read, reader.readline
        self.readinto = reader.readinto

    def makefile(self, *_):
        """Return itself."""
        return self

    def flush(self):
        """Do nothing: a parser that gives up calls it."""

    def close(self):
        """Stay open for the next parser."""

    def really_close(self):
        """Close the reader."""
        self._reader.close()
