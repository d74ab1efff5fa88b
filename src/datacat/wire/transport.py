"""One wire call: a request in, (status, headers, body) or a DatacatError out, within a deadline.

What may live here: `requests` and everything that knows its errors. What may not: what an
answer means, and any retry of what may have reached the server.
"""

from __future__ import absolute_import, division

import logging
import os
import re
from collections import namedtuple

import requests
import six
import urllib3
from requests.adapters import HTTPAdapter
from six.moves import http_client
from urllib3.util.retry import Retry

from .. import _compat
from ..errors import NotSent, OutcomeUnknown, TlsFailure
from . import sockets

Response = namedtuple("Response", "status headers body")

# A request's deadline and its silence grow by what the slowest link that we serve, 64 kbit/s
# as a poor mobile one, needs for the body: the system takes a body into its buffers at once,
# and the wait for the answer contains the time to send it.
_SLOWEST_LINK = 8 * 1024
_LONGEST_ANSWER = 64 * 1024
_CHUNK = 64 * 1024
_MOST_CONNECTIONS = 32
# A shorter key could be a part of what a server honestly says.
_SHORTEST_KEY_STRUCK_OUT = 8
_SCHEME = u"Bearer "
_ADDRESS_IN_MEMORY = re.compile(r"^<?[\w.]*(\(host=[^)]*\)| object at 0x\w+>): ")
_CREDENTIALS = re.compile(r"//[^/@\s]*@")

_FROM_LIBRARIES = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    http_client.HTTPException,
)
_FAULTS = _FROM_LIBRARIES + (EnvironmentError, ValueError, MemoryError)
_BEFORE_SENDING = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.ProxyError,
    requests.exceptions.SSLError,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ClosedPoolError,
    ValueError,
)


class Transport(object):
    """Makes wire calls to one server with one set of settings. Safe to use from many threads.

    A forked child starts with connections of its own and leaves the inherited ones alone.

    :param settings: a `settings.Settings`.
    :param retries: how often a failure to connect is tried again at once within a call.
    """

    def __init__(self, settings, retries=2):
        self._settings = settings
        self._retries = retries
        self._wires = {}  # one for each process, by its id

    @staticmethod
    def allowance(body):
        """Return the seconds by which a call's bounds grow for a request body (bytes or None)."""
        return len(body or b"") / _SLOWEST_LINK

    def call(self, request, timeout=None, deadline=None, limit=_LONGEST_ANSWER, on_chunk=None):
        """Send a request and return its `Response`, whatever the status.

        Redirects are not followed. An answer of status 300 and more is cut at `limit`.

        :param request: has `method`, `path` (percent-encoded, absolute), `body` (bytes or None,
            JSON) and `encoding` (the body's Content-Encoding, or None).
        :param timeout: seconds of silence to bear; by default the settings' one, and more
            for a large body.
        :param deadline: seconds for all of it; by default the settings' one, and more for a
            large body. The look-up of a host name cannot be interrupted.
        :param limit: bytes that an answer may have; None: any number.
        :param on_chunk: is given the body of a 2xx in pieces instead; when it returns True,
            no more is read. The Response's body is then empty.
        :raises NotSent: it surely took no effect; `TlsFailure` where trust is missing.
        :raises OutcomeUnknown: it may have taken effect: no whole answer, or too large a one.
        """
        extra = self.allowance(request.body)
        silence = self._settings.timeout + extra if timeout is None else timeout
        total = self._settings.deadline + extra if deadline is None else deadline
        with sockets.Call(total) as call:
            return _Exchange(self._wire_of_this_process(), request, call, silence, limit).run(
                on_chunk
            )

    def close(self):
        """Close the idle connections. A later call opens new ones."""
        wire = self._wires.pop(os.getpid(), None)
        if wire is not None:
            wire.session.close()

    def _wire_of_this_process(self):
        process = os.getpid()
        wire = self._wires.get(process)
        if wire is None:
            for inherited in list(self._wires.values()):
                _compat.keep_for_ever(inherited)
            # A lock could be held at a fork; where two threads get here, the first one's counts.
            wire = self._wires.setdefault(process, _Wire(self._settings, self._retries))
        return wire


class _Wire(object):
    """One process's `requests.Session`, and what goes out with every request."""

    def __init__(self, settings, retries):
        self.settings = settings
        self.session = _session(settings, retries)
        self._adapter = self.session.get_adapter(settings.base_url)
        self._headers = _headers(settings)
        self.look_around()

    def look_around(self):
        """Look proxies and CA bundles up in the environment; they may have changed."""
        self._environment = self.session.merge_environment_settings(
            six.ensure_str(self.settings.base_url),
            dict(self.settings.proxies or ()),
            True,
            self.settings.verify,
            self.settings.cert,
        )
        self._adapter.forget_pool()

    def send(self, request, silence):
        prepared = self._prepare(request)
        # By the adapter itself: a Session's own `send` adds cookies, hooks and the preparation of
        # redirects, none of which is wanted here, and a tenth of the time.
        return self._adapter.send(
            prepared, timeout=(min(silence, self.settings.timeout), silence), **self._environment
        )

    def _prepare(self, request):
        # Made by hand: Session.prepare_request lets .netrc replace our key.
        prepared = requests.PreparedRequest()
        prepared.method = six.ensure_str(request.method)
        prepared.url = six.ensure_str(self.settings.base_url) + six.ensure_str(request.path)
        prepared.headers = headers = self._headers.copy()
        prepared.body = request.body
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            headers["Content-Length"] = str(len(request.body))
            if request.encoding is not None:
                headers["Content-Encoding"] = request.encoding
        return prepared

    def without_key(self, text, after=u""):
        """Return text or bytes that came from outside with the API key struck out.

        :param after: text; only where the key follows it.
        """
        key = self.settings.api_key
        if key is None or len(key) < _SHORTEST_KEY_STRUCK_OUT:
            return text
        shown, hidden = after + key, after + u"***"
        if isinstance(text, six.binary_type):
            return text.replace(shown.encode("latin-1"), hidden.encode("latin-1"))
        return text.replace(shown, hidden)


class _Exchange(object):
    """One request and its answer."""

    def __init__(self, wire, request, call, silence, limit):
        self._wire = wire
        self._request = request
        self._call = call
        self._silence = silence
        self._limit = limit
        self._status = None

    def run(self, on_chunk):
        answer = self._or_error(self._wire.send, self._request, self._silence)
        try:
            return self._receive(answer, on_chunk)
        finally:
            answer.close()

    def _or_error(self, function, *arguments):
        try:
            return function(*arguments)
        except _FAULTS as fault:
            error = self._translate(fault)
        # Raised out here, it does not drag along requests' error and with it our headers.
        raise error

    def _receive(self, answer, on_chunk):
        self._status = answer.status_code
        if answer.status_code >= 300:
            body = self._wire.without_key(self._read(answer, self._limit or _LONGEST_ANSWER))
        elif on_chunk is None:
            body = self._without_our_header(answer, self._read_whole(answer))
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

    def _without_our_header(self, answer, body):
        # What a server keeps for us is our business, even a text like the key. But whatever
        # echoes requests, whose words end in an error, shall not print our header.
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        return self._wire.without_key(body, after=_SCHEME if is_json else u"")

    def _stream(self, answer, on_chunk):
        received = 0
        while True:
            chunk = self._read(answer, _CHUNK)
            received += len(chunk)
            if self._limit is not None and received > self._limit:
                raise self._too_large()
            if not chunk or on_chunk(chunk):
                return

    def _read(self, answer, amount):
        data = self._or_error(answer.raw.read, amount, False)
        missing = answer.raw.length_remaining
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
        """Return our error for one of requests; nothing else knows what theirs mean."""
        cause = self._wire.without_key(_words(self._call.problem or _innermost(fault)))
        if self._may_have_arrived(fault):
            return self._error(OutcomeUnknown, self._what_is_missing(fault, cause))
        self._wire.look_around()
        server = self._wire.settings.base_url
        if _is_about_trust(fault):
            return self._error(
                TlsFailure,
                (
                    u"no trusted connection to %s, nothing was sent: %s; check the certificate, "
                    u"verify= and cert=" % (server, cause)
                ),
            )
        if self._call.handed_over or self._call.broken:
            return self._error(
                NotSent,
                (u"the connection to %s broke before the request was out: %s" % (server, cause)),
            )
        return self._error(
            NotSent,
            (
                u"could not reach %s: %s; check base_url and proxies, and that the server runs"
                % (server, cause)
            ),
        )

    def _may_have_arrived(self, fault):
        if self._call.touched:
            return self._call.handed_over and not self._call.broken
        failed_before_connecting = not isinstance(fault, _FROM_LIBRARIES)
        return not (failed_before_connecting or _is_any(fault, _BEFORE_SENDING))

    def _what_is_missing(self, fault, cause):
        if _is_any(fault, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError)):
            if self._call.is_ending:
                return u"no whole answer within the total deadline of %g s" % self._call.deadline
            return u"no answer: nothing came for %g s" % self._silence
        return u"the connection broke before the whole answer had come: %s" % cause

    def _error(self, kind, message):
        return kind(
            message, method=self._request.method, path=self._request.path, status=self._status
        )


class _Adapter(HTTPAdapter):
    """What requests' own looks up or makes anew for each request is kept: there is one server."""

    _pool = None

    def get_connection(self, url, proxies=None):
        """Return the pool of connections, asked for by requests before 2.32."""
        if self._pool is None:
            self._pool = HTTPAdapter.get_connection(self, url, proxies)
        return self._pool

    def get_connection_with_tls_context(self, request, verify, proxies=None, cert=None):
        """Return the pool of connections."""
        if self._pool is None:
            self._pool = HTTPAdapter.get_connection_with_tls_context(
                self, request, verify, proxies=proxies, cert=cert
            )
        return self._pool

    def forget_pool(self):
        """Choose the pool anew at the next request: proxies or certificates may have changed."""
        self._pool = None

    def request_url(self, request, proxies):
        """Return the first line's target; without proxies there is nothing to choose."""
        return HTTPAdapter.request_url(self, request, proxies) if proxies else request.path_url

    def init_poolmanager(self, *arguments, **options):
        HTTPAdapter.init_poolmanager(self, *arguments, **options)
        sockets.bound(self.poolmanager)

    def proxy_manager_for(self, proxy, **options):
        if proxy not in self.proxy_manager:
            sockets.bound(HTTPAdapter.proxy_manager_for(self, proxy, **options))
        return self.proxy_manager[proxy]


class _Connecting(Retry):
    """Tries again, at once, only what never reached the server."""


class _OurRetries(logging.Filter):
    """Keeps our attempts to connect out of the application's log: the sender warns, once."""

    def filter(self, record):
        return not (
            record.args
            and isinstance(record.args, tuple)
            and isinstance(record.args[0], _Connecting)
        )


logging.getLogger("urllib3.connectionpool").addFilter(_OurRetries())


def _session(settings, retries):
    session = requests.Session()
    session.trust_env = settings.trust_env
    only_connecting = _Connecting(
        total=None,
        connect=retries,
        read=False,
        redirect=False,
        status=0,
        other=0,
        backoff_factor=0,
        respect_retry_after_header=False,
    )
    adapter = _Adapter(max_retries=only_connecting, pool_maxsize=_MOST_CONNECTIONS)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _headers(settings):
    headers = {"Accept-Encoding": "identity", "User-Agent": "datacat-python"}
    if settings.api_key is not None:
        # On Python 2 the headers and the body make one text: bytes, all of it.
        value = _SCHEME + settings.api_key
        headers["Authorization"] = value if six.PY3 else value.encode("latin-1")
    return headers


def _causes(fault):
    """Yield an error of requests and all that it was made from, outermost first."""
    seen = set()
    waiting = [fault]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting.append(getattr(cause, "reason", None))
            waiting.append(getattr(cause, "original_error", None))
            waiting.extend(cause.args)


def _innermost(fault):
    return list(_causes(fault))[-1]


def _words(fault):
    try:
        text = six.text_type(fault)
    except UnicodeError:  # Python 2, from a system that speaks another language
        text = str(fault).decode("utf-8", "replace")
    text = _CREDENTIALS.sub(u"//***@", _ADDRESS_IN_MEMORY.sub(u"", text))
    return text or type(fault).__name__


def _is_any(fault, kinds):
    return any(isinstance(cause, kinds) for cause in _causes(fault))


def _is_about_trust(fault):
    return (
        _is_any(fault, (requests.exceptions.SSLError, urllib3.exceptions.SSLError))
        or not isinstance(fault, requests.exceptions.RequestException)
        and isinstance(fault, EnvironmentError)
    )
