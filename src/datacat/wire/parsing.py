"""An HTTP answer, parsed by http.client, with what that leaves out.

Belongs here: reading past interim answers, and decoding bodies.  Does not: connections, bounds in
time, what an answer means.
"""

from __future__ import absolute_import, division

import zlib

from six.moves import http_client

_MOST_INTERIM_ANSWERS = 16
_SWITCHING_PROTOCOLS = 101
_PIECE = 16 * 1024
# zlib's way to accept its own format and gzip's.  Some servers send "deflate" without a header.
_ANY_HEADER = 32 + zlib.MAX_WBITS
_ENCODINGS = ("gzip", "x-gzip", "deflate")


class FinalResponse(http_client.HTTPResponse, object):
    """http.client's response, which reads past every interim answer (RFC 9110, 15.2).

    http.client itself reads past 100 only.  Of 102 and 103 it would make the answer, and of the
    real one that of the next request on the connection.
    """

    def begin(self):
        """Read until the head of the final answer.

        :raises http.client.BadStatusLine: if interim answers do not end.
        """
        for _ in range(_MOST_INTERIM_ANSWERS):
            # Not by super: on Python 2 this is an old-style class.
            http_client.HTTPResponse.begin(self)
            if self.status >= 200 or self.status == _SWITCHING_PROTOCOLS:
                return
            self.headers = self.msg = None
        raise http_client.BadStatusLine("interim answers without end")


def decoder(headers):
    """Return a Decoder for a body with these headers, or None if it is not encoded.

    We ask for no encoding, but something on the way may use one all the same.
    """
    encoding = (headers.get("Content-Encoding") or "").strip().lower()
    return Decoder(encoding) if encoding in _ENCODINGS else None


class Decoder(object):
    """Decodes a gzip or deflate body piece by piece, never more than it is asked for."""

    def __init__(self, encoding):
        self._inflate = zlib.decompressobj(_ANY_HEADER)
        self._may_lack_header = encoding == "deflate"
        self._waiting = b""

    def read(self, amount, more):
        """Return up to `amount` decoded bytes (None: all), fewer only at the end of the body.

        :param more: a callable (amount) -> the next bytes of the encoded body, b"" at its end.
        :raises zlib.error: if the body is damaged.
        """
        pieces, size = [], 0
        while amount is None or size < amount:
            if not self._waiting:
                self._waiting = more(_PIECE)
            is_last = not self._waiting
            piece = self._decoded(_PIECE if amount is None else min(_PIECE, amount - size))
            if is_last and not piece:
                break
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    def _decoded(self, most):
        encoded = self._waiting
        try:
            piece = self._inflate.decompress(encoded, most)
        except zlib.error:
            if not self._may_lack_header:
                raise
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            piece = self._inflate.decompress(encoded, most)
        self._may_lack_header = False
        self._waiting = self._inflate.unconsumed_tail
        return piece
