"""One process's connections to the server, and what every request is sent with.

Belongs here: `requests.Session`, its adapter, headers, and which connections may carry a window.
Does not: the bounds of a call (`sockets`), errors, what an answer means.
"""

from __future__ import absolute_import, division

import socket

import requests
import six
from requests.adapters import HTTPAdapter
from six.moves.urllib import parse

from . import pipelining, pools, sockets

_MOST_CONNECTIONS = 32
# Set before connecting. The system takes in about twice as much of an answer that nobody reads.
_SMALL_BUFFER = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]
# A shorter key could occur in an answer by chance.
_SHORTEST_REDACTED_KEY = 8
SCHEME = u"Bearer "
_SEND = vars(HTTPAdapter)["send"]
_UNLIMITED = 2**31
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Connections(object):
    """One process's `requests.Session`, and what every request is sent with.

    :param settings: a `settings.Settings`.
    :param retries: how often a call that cannot connect is retried at once.
    :param route: a Route that notes what addresses are found.
    :param knock: the Knock at the server, or None.
    """

    def __init__(self, settings, retries, route, knock=None):
        self.settings = settings
        self._knock = knock
        self.retries = retries
        self._session = requests.Session()
        self._session.trust_env = settings.trust_env
        self._adapter = _Adapter(route, knock)
        self._short_adapter = _Adapter(route, socket_options=_SMALL_BUFFER)
        self._session.mount("http://", self._adapter)
        self._session.mount("https://", self._adapter)
        self._headers = _headers(settings)
        self._base_url = six.ensure_str(settings.base_url)
        self._host = _host(self._base_url)
        self._most_requests = _UNLIMITED
        self._ended_at = None
        self.read_environment()

    def close(self):
        self._session.close()
        self._short_adapter.close()
        if self._knock is not None:
            self._knock.close()

    def read_environment(self):
        """Look up proxies and CA bundles in the environment: they may have changed."""
        self._environment = self._session.merge_environment_settings(
            self._base_url,
            dict(self.settings.proxies or ()),
            True,
            self.settings.verify,
            self.settings.cert,
        )
        self._adapter.forget_pool()
        self._short_adapter.forget_pool()

    def send(self, request, silence, is_short):
        """Return requests' answer to a request, of which the body is not read yet.

        :param silence: seconds to wait for the server's next bytes.
        :param is_short: whether only the beginning of the answer is wanted.
        """
        prepared = self._prepare(request)
        adapter = self._short_adapter if is_short else self._adapter
        # Not Session.send: it adds cookies, hooks and redirects, which we don't want, and a tenth
        # to the time.
        return adapter.send(
            prepared, timeout=(min(silence, self.settings.timeout), silence), **self._environment
        )

    def _prepare(self, request):
        # Not Session.prepare_request: it lets .netrc replace our key.
        prepared = requests.PreparedRequest()
        prepared.method = request.method
        # Python 2: the whole request is bytes only if each of its parts is.
        prepared.url = self._base_url + str(request.path)
        prepared.headers = headers = self._headers.copy()
        prepared.body = request.body
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            headers["Content-Length"] = str(len(request.body))
            if request.encoding is not None:
                headers["Content-Encoding"] = request.encoding
        return prepared

    # Windows

    def take_connected(self, requests, seconds=None):
        """Return (an idle, connected connection, how many of some requests it may get).

        The connection is None if there is none: `send` makes one.

        :param requests: those that there are to send.
        :param seconds: how long to wait for a new connection; None: none is made.
        """
        prepared = None if seconds is None else self._prepare(requests[0])
        pool = self._adapter.own_pool(self._base_url, self._environment, prepared)
        connection = None if pool is None else pools.take_connected(pool, seconds)
        if connection is None:
            return None, 0
        return connection, min(len(requests), self._most_requests - connection.carried)

    def give_back(self, connection, is_usable):
        """Take a connection back, and close it unless it is usable."""
        if not is_usable:
            connection.close()
        pools.give_back(connection)

    def note_end_of(self, connection):
        """Note that the server closed a connection after as many requests as this one had.

        Two in a row show a limit of the server's; one may have met a server that was stopping.
        """
        is_habit = connection.carried == self._ended_at
        self._most_requests = connection.carried if is_habit else _UNLIMITED
        self._ended_at = connection.carried

    def written(self, request):
        """Return a request as it is sent, in bytes."""
        prepared = self._prepare(request)
        return pipelining.written(
            prepared.method, _target(prepared.url), self._host, prepared.headers, prepared.body
        )

    def redact(self, text, after=u""):
        """Return text or bytes from outside, with the API key replaced by asterisks.

        :param after: replace the key only where it follows this text.
        """
        key = self.settings.api_key
        if key is None or len(key) < _SHORTEST_REDACTED_KEY:
            return text
        shown, hidden = after + key, after + u"***"
        if isinstance(text, six.binary_type):
            return text.replace(shown.encode("latin-1"), hidden.encode("latin-1"))
        return text.replace(shown, hidden)


class _Adapter(HTTPAdapter):
    """Keeps what requests would look up for each request: there is only one server."""

    _pool = None

    def __init__(self, route, knock=None, socket_options=()):
        self._route = route
        self._knock = knock
        self._socket_options = sockets.OPTIONS + list(socket_options)
        super(_Adapter, self).__init__(pool_maxsize=_MOST_CONNECTIONS)

    def get_connection(self, url, proxies=None):
        """Return the connection pool; requests before 2.32 calls this."""
        if self._pool is None:
            self._pool = HTTPAdapter.get_connection(self, url, proxies)
        return self._pool

    def get_connection_with_tls_context(self, request, verify, proxies=None, cert=None):
        """Return the connection pool; requests 2.32 and newer calls this."""
        if self._pool is None:
            self._pool = HTTPAdapter.get_connection_with_tls_context(
                self, request, verify, proxies=proxies, cert=cert
            )
        return self._pool

    def close(self):
        """Close all connections; harmless when repeated."""
        # urllib3 leaves that to finalizers, which at exit have run before our last requests.
        pool, self._pool = self._pool, None
        HTTPAdapter.close(self)
        if pool is not None:
            pool.close()

    def forget_pool(self):
        """Choose the pool again at the next request: proxies or certificates may have changed."""
        self._pool = None

    def own_pool(self, url, environment, prepared=None):
        """Return the pool of connections to the server itself, or None.

        None: there is no pool yet, a forward proxy would get the requests, or something stands in
        for requests (the package `responses`), which would not see what is sent past it.

        :param url: the server's.
        :param environment: the arguments of `send`.
        :param prepared: a request for which to make the pool if there is none yet, or None.
        """
        proxies = environment["proxies"]
        is_forwarded = url.startswith("http:") and requests.utils.select_proxy(url, proxies)
        if is_forwarded or vars(HTTPAdapter)["send"] is not _SEND:
            return None
        if self._pool is None and prepared is not None:
            self._make_pool(prepared, environment)
        return self._pool

    def _make_pool(self, prepared, environment):
        """Make the pool, as HTTPAdapter's `send` does."""
        verify, cert = environment["verify"], environment["cert"]
        if hasattr(HTTPAdapter, "get_connection_with_tls_context"):
            self.get_connection_with_tls_context(prepared, verify, environment["proxies"], cert)
        else:
            self.get_connection(prepared.url, environment["proxies"])
        self.cert_verify(self._pool, prepared.url, verify, cert)

    def request_url(self, request, proxies):
        """Return the target in the request line."""
        if proxies:
            return HTTPAdapter.request_url(self, request, proxies)
        return _target(request.url)

    def build_response(self, request, answer):
        """Return requests' response to a request, as far as it is needed.

        Not by requests: for cookies it has the standard library take each URL apart, and remember
        it.

        :param answer: urllib3's response.
        """
        response = requests.Response()
        response.status_code = answer.status
        response.headers = requests.structures.CaseInsensitiveDict(answer.headers)
        response.request, response.url, response.raw = request, request.url, answer
        return response

    def init_poolmanager(self, *arguments, **options):
        options["socket_options"] = self._socket_options
        HTTPAdapter.init_poolmanager(self, *arguments, **options)
        pools.bound(self.poolmanager, self._route.note, self._knock)

    def proxy_manager_for(self, proxy, **options):
        options["socket_options"] = self._socket_options
        manager = HTTPAdapter.proxy_manager_for(self, proxy, **options)
        return pools.bound(manager, self._route.note)


def _headers(settings):
    headers = {"Accept-Encoding": "identity", "User-Agent": "datacat-python"}
    if settings.api_key is not None:
        # Python 2 joins headers and body into one string: all of it must be bytes.
        value = SCHEME + settings.api_key
        headers["Authorization"] = value if six.PY3 else value.encode("latin-1")
    return headers


def _target(url):
    """Return the part of a URL after scheme and host.

    Not by `path_url`: the standard library would remember each one.
    """
    return "/" + url.split("/", 3)[3]


def _host(url):
    """Return the Host header for a URL, as http.client makes it."""
    parts = parse.urlsplit(url)
    name = parts.netloc.rpartition("@")[2]
    default = ":%d" % _DEFAULT_PORTS[parts.scheme]
    return name[: -len(default)] if name.endswith(default) else name
