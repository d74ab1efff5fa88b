"""What requests makes of a request: its answer, or the DatacatError that its error means.

Belongs here: translating the errors of requests into ours in one place (`Exchange._translate`).
Does not: what an answer means, retrying what may have arrived, when requests is imported
(`importing`).
"""

from __future__ import absolute_import, division

import functools
import io
import re
import socket
import zlib

import requests
import urllib3
from six.moves import http_client

from ..errors import CutShort, DatacatError, NotSent, OutcomeUnknown, TlsFailure
from ..notices import prepare_to_be_quiet
from . import causes, parsing, pipelining
from .calls import LONGEST_ANSWER, Response
from .connections import SCHEME, Connections  # noqa: F401
from .knocking import UNREACHABLE

prepare_to_be_quiet()

# Of an answer that is taken in pieces: often its beginning is enough.
_FIRST_PIECE = 4 * 1024
_PIECE = 16 * 1024
_FROM_LIBRARIES = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    http_client.HTTPException,
)
# Warning: an application may turn warnings into errors.
_FAULTS = _FROM_LIBRARIES + (EnvironmentError, ValueError, MemoryError, Warning)
_BUILT_IN = ("builtins", "exceptions")
_TIMEOUTS = (
    requests.exceptions.Timeout,
    urllib3.exceptions.TimeoutError,
    socket.timeout,
)
_CONNECTING = (urllib3.exceptions.ConnectTimeoutError,)
_BEFORE_SENDING = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.ProxyError,
    requests.exceptions.SSLError,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ClosedPoolError,
    ValueError,
)

_NO_ANSWER = u"no complete HTTP answer: %s"
_NOT_TRUSTED = (
    u"no trusted connection to %s, nothing was sent: %s; check the certificate, verify= and cert="
)
_NO_TLS = (
    u"%s does not speak TLS, nothing was sent: %s; use http:// in base_url, or the port for https"
)
# How OpenSSL, over its versions, calls an answer that is plain HTTP.
_WORDS_FOR_NO_TLS = re.compile(
    u"wrong.version.number|unknown.protocol|record.layer.failure|packet.length.too.long", re.I
)
_CUT_SHORT = u"the connection to %s broke before the whole request was sent: %s"


class Exchange(object):
    """One request and its answer.

    :param connections: this process's Connections.
    :param request: as `Transport.call` takes it.
    :param call: the current Call.
    :param silence: seconds to wait for the server's next bytes.
    :param limit: the largest answer to accept, in bytes; None: any.
    """

    def __init__(self, connections, request, call, silence, limit):
        self._connections = connections
        self._request = request
        self._call = call
        self._silence = silence
        self._limit = limit
        self._status = None
        self._decoder = None

    def run(self, on_chunk, pace, is_short):
        """Return the Response; the arguments are those of `Transport.call`.

        :param pace: bytes of an answer that buy the call another second; None: none do.
        :raises NotSent, OutcomeUnknown: as `Transport.call` does.
        """
        answer = self._translating(self._send, is_short)
        # From here on: a head that never ends has a fixed deadline.
        self._call.pace = pace
        try:
            return self._receive(answer, on_chunk)
        finally:
            answer.close()

    def _translating(self, function, *arguments):
        """Call a function that raises requests' errors; raise ours instead."""
        try:
            return function(*arguments)
        except _FAULTS as fault:
            error = self._translate(fault)
        except Exception as fault:
            if type(fault).__module__ in _BUILT_IN:
                raise
            # Of a library that stands in for requests or urllib3, such as vcrpy.
            error = self._translate(fault)
        # Raised out here: as its __context__, requests' error would expose our headers.
        raise error

    def _send(self, is_short):
        # Not by urllib3's Retry: before 1.26 it has no separate limit for TLS errors, and it logs
        # a warning about each attempt.
        for _ in range(self._connections.retries):
            try:
                return self._connections.send(self._request, self._silence, is_short)
            except _FAULTS as fault:
                if not causes.is_any(fault, _CONNECTING):
                    raise
        return self._connections.send(self._request, self._silence, is_short)

    def _receive(self, answer, on_chunk):
        self._status = answer.status_code
        self._decoder = parsing.decoder(answer.headers)
        if answer.status_code >= 300:
            body = self._connections.redact(self._read(answer, self._limit or LONGEST_ANSWER))
        elif on_chunk is None:
            body = self._without_our_header(answer.headers, self._read_whole(answer))
        else:
            self._stream(answer, on_chunk)
            body = b""
        return Response(answer.status_code, answer.headers, body)

    def _read_whole(self, answer):
        if self._limit is None:
            return self._read(answer, None)
        body = self._read(answer, self._limit + 1)
        if len(body) > self._limit:
            raise self._too_large()
        return body

    def _without_our_header(self, headers, body):
        # JSON may be a session that contains the key's text by chance: leave users' data alone.
        # Anything else may echo our request, and end up in an error message.
        is_json = headers.get("Content-Type", "").startswith("application/json")
        return self._connections.redact(body, after=SCHEME if is_json else u"")

    def _stream(self, answer, on_chunk):
        received, size = 0, _FIRST_PIECE
        while True:
            chunk = self._read(answer, size)
            received, size = received + len(chunk), _PIECE
            if self._limit is not None and received > self._limit:
                raise self._too_large()
            if not chunk or on_chunk(chunk):
                return

    def _read(self, answer, amount):
        """Return up to `amount` bytes of the body (None: all), fewer only at its end."""
        if self._decoder is None:
            return self._read_raw(answer, amount)
        return self._decoded(amount, lambda most: self._read_raw(answer, most))

    def _decoded(self, amount, more):
        try:
            return self._decoder.read(amount, more)
        except zlib.error as fault:
            problem = u"the answer cannot be decoded: %s" % fault
        raise self._error(OutcomeUnknown, problem)

    def _read_raw(self, answer, amount):
        # By keyword, and with a default: as a stand-in (vcrpy's) has them.
        read = functools.partial(answer.raw.read, decode_content=False)
        data = self._translating(read, amount)
        missing = getattr(answer.raw, "length_remaining", None)
        if missing and (amount is None or len(data) < amount):
            raise self._error(
                OutcomeUnknown, u"the answer broke off %d bytes before its end" % missing
            )
        return data

    def _too_large(self):
        return self._error(
            OutcomeUnknown, u"the answer is larger than the limit of %d bytes" % self._limit
        )

    def _translate(self, fault):
        """Return our error for one of requests'; nothing else knows what theirs mean."""
        cause = self._cause(fault)
        if self._may_have_arrived(fault):
            return self._error(OutcomeUnknown, _NO_ANSWER % cause)
        self._connections.read_environment()
        if self._call.broken:
            # With TLS that may look like a failure of the connection's trust.
            kind, reason = CutShort, _CUT_SHORT
        elif _is_about_trust(fault):
            kind = TlsFailure
            reason = _NO_TLS if _WORDS_FOR_NO_TLS.search(cause) else _NOT_TRUSTED
        else:
            kind, reason = NotSent, UNREACHABLE
        return self._error(kind, reason % (self._connections.settings.base_url, cause))

    def _may_have_arrived(self, fault):
        if self._call.touched:
            return self._call.handed_over and not self._call.broken
        failed_before_connecting = not isinstance(fault, _FROM_LIBRARIES)
        return not (failed_before_connecting or causes.is_any(fault, _BEFORE_SENDING))

    def _cause(self, fault):
        if causes.is_any(fault, _TIMEOUTS):
            if self._call.is_ending:
                return self._call.how_it_ended
            if self._call.handed_over:
                return u"nothing came for %g s" % self._silence
        return self._connections.redact(
            causes.message_of(self._call.problem or causes.innermost(fault))
        )

    def _error(self, kind, message):
        return kind(
            message, method=self._request.method, path=self._request.path, status=self._status
        )


class Window(Exchange):
    """Several requests, sent back to back, and their answers."""

    def __init__(self, connections, requests, call, silence):
        super(Window, self).__init__(connections, requests[0], call, silence, LONGEST_ANSWER)
        self._requests = requests
        self._responses = []
        self._is_over = True

    def run_all(self, connects):
        """Return (the Responses in order, None or the error of the first without one)."""
        error = None
        try:
            connection, most = self._translating(self._take, connects)
        except DatacatError as problem:
            return [], problem
        if connection is None:
            return [], None
        try:
            if most > 0:
                self._translating(self._run, connection, self._requests[:most])
        except DatacatError as problem:
            error = problem
        finally:
            self._connections.give_back(connection, not self._is_over)
        return self._responses, error

    def _take(self, connects):
        seconds = min(self._silence, self._connections.settings.timeout) if connects else None
        return self._connections.take_connected(self._requests, seconds)

    def _run(self, connection, requests):
        connection.sock.settimeout(self._silence)
        answers = pipelining.Answers(connection.sock, self._limit)
        try:
            written = [self._connections.written(request) for request in requests]
            pipelining.send(connection.sock, self._call, written)
            for self._request in requests:
                self._responses.append(self._response(*answers.read(self._request.method)))
                connection.carried += 1
                if answers.is_over:
                    self._connections.note_end_of(connection)
                    return
        finally:
            answers.close()
        self._is_over = False

    def _response(self, status, headers, body):
        self._status = status
        self._decoder = parsing.decoder(headers)
        if body is not None and self._decoder is not None:
            body = self._decoded(self._limit + 1, io.BytesIO(body).read)
        if body is None or len(body) > self._limit:
            raise self._too_large()
        if status >= 300:
            body = self._connections.redact(body)
        else:
            body = self._without_our_header(headers, body)
        return Response(status, headers, body)


def _is_about_trust(fault):
    # A missing certificate file is a plain OSError, but requests' own errors are OSErrors as well.
    return causes.is_any(fault, (requests.exceptions.SSLError, urllib3.exceptions.SSLError)) or (
        isinstance(fault, EnvironmentError)
        and not isinstance(fault, requests.exceptions.RequestException)
    )
