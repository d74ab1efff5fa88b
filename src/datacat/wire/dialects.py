"""The two generations of servers: a record as a request, a response as what it means.

What may live here: paths, bodies, status codes and server words.  What may not: I/O, waiting,
and decisions on what to do about an outcome (those are in `retry`).
"""

from __future__ import absolute_import, division

import collections
import json
import re
import time
import zlib

import six
from six.moves.urllib import parse

from .. import errors
from ..records import kinds

# method; path: absolute and percent-encoded; body: bytes or None; repeatable: whether sending it
# twice leaves the server as sending it once would; encoding: the body's Content-Encoding or None.
Request = collections.namedtuple("Request", "method path body repeatable encoding")
Request.__new__.__defaults__ = (None,)

CAPTURED_AT = u"_captured_at"
CAPTURED_AT_TAG = u"captured_at:"

SESSIONS = "/api/sessions"
HEALTH = "/health"
LISTINGS = ("/api/grafana/sessions", "/api/data/sessions")
_OPERATIONS = {
    kinds.STATE: "/state",
    kinds.EVENT: "/events",
    kinds.EXCEPTION: "/events",
    kinds.METRIC: "/metrics",
    kinds.END: "/end",
    kinds.CRASH: "/crash",
}
_STAMPED = frozenset((kinds.EVENT, kinds.EXCEPTION, kinds.METRIC))
_V1_FIELDS = ("suspended", "crashed", "hung", "state_history")
_NOT_IDS = frozenset(("", ".", ".."))
# All that real servers were ever heard to refuse with.
_KNOWN_REFUSALS = frozenset(
    (
        u"Invalid request body",
        u"Product and version are required fields",
        u"Session ID required",
        u"Unauthorized",
    )
)
# Below it, compressing costs more than the few packets that it saves.
_LONGEST_UNCOMPRESSED = 1024
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # zlib's way to ask for gzip, where `gzip` on 2.7 wants a file
_LONGEST_RETRY_AFTER = 3600.0
_LONGEST_OWN_WORDS = 200
_WORDS_READ = 2000

_needs_no_quoting = re.compile(r"[0-9A-Za-z_-]+\Z").match
_can_be_id = re.compile(
    u"(?!\\.\\.?\\Z)[^\\s\u0000-\u001f\u007f-\u009f\ud800-\udfff]{1,200}\\Z", re.UNICODE
).match
_encode = json.JSONEncoder(separators=(",", ":")).encode


class _Dialect(object):
    """What both generations have in common."""

    name = None
    _listing_path = None

    def __repr__(self):
        return "<dialect %s>" % self.name

    def open(self, body):
        """Return the request that creates a session."""
        return Request("POST", SESSIONS, body, False)

    def read(self, server_id):
        """Return the request for all that the server holds of a session."""
        return Request("GET", _session_path(server_id), None, True)

    def listing(self):
        """Return the request for all sessions."""
        return Request("GET", self._listing_path, None, True)


class _Classic(_Dialect):
    """Stamps records when they arrive, knows name, data, value and tags, no heartbeat."""

    name = "classic"
    _listing_path = LISTINGS[0]

    def send(self, record, server_id, late):
        """Return the request that delivers a record.

        :param late: whether to add to events and metrics when they were captured.
        """
        kind = record.kind
        body = record.body
        if late and kind in _STAMPED:
            body = _with_capture_time(record)
        elif kind == kinds.CRASH:
            kind, body = kinds.END, b"{}"
        return Request(
            "POST", _session_path(server_id) + _OPERATIONS[kind], body, kind == kinds.STATE
        )

    def heartbeat(self, server_id):
        """Return None: this generation has no heartbeat."""
        return None


class _V1(_Dialect):
    """Keeps the time that a record carries and all its fields; takes gzip; is told that sessions
    live.
    """

    name = "v1"
    _listing_path = LISTINGS[1]

    def send(self, record, server_id, late):
        """Return the request that delivers a record.  `late` makes no difference here."""
        kind = record.kind
        body = record.body
        if kind in _STAMPED:
            body = b"".join((_stamp(record), b"," if body != b"{}" else b"", body[1:]))
        elif kind == kinds.STATE:
            # Always in the envelope: a plain state with a key "state" would be taken for one.
            body = b"".join((_stamp(record), b',"state":', body, b"}"))
        body, encoding = _compressed(body)
        return Request(
            "POST",
            _session_path(server_id) + _OPERATIONS[kind],
            body,
            kind == kinds.STATE,
            encoding,
        )

    def heartbeat(self, server_id):
        """Return the request that tells the server that a session lives."""
        return Request("POST", _session_path(server_id) + "/heartbeat", b"{}", True)


CLASSIC = _Classic()
V1 = _V1()


def health():
    """Return the request that only a v1 server answers."""
    return Request("GET", HEALTH, None, True)


def recognise_health(response):
    """Return V1 when the response to `health()` is a v1 server's, else None."""
    if response.status != 200:
        return None
    parsed = _parsed(response.body)
    return V1 if _is_health(parsed) else None


def recognise_session(fields):
    """Return the dialect of the server that gave these fields of a session (a dict)."""
    return V1 if any(field in fields for field in _V1_FIELDS) else CLASSIC


def recognise_beginning(start):
    """Return the dialect of the server whose answer to the GET of a session begins so.

    :param start: bytes; v1's fields stand before the state, which may be large.
    """
    before_state = start.split(b'"state":', 1)[0]
    named = (b'"%s"' % field.encode("ascii") for field in _V1_FIELDS)
    return V1 if any(field in before_state for field in named) else CLASSIC


def is_own_health_answer(response):
    """Return whether a datacat server of either generation gave this answer to `health()`."""
    if response.status == 404:
        return _are_own_words(response.headers, response.body.decode("utf-8", "replace").strip())
    return recognise_health(response) is not None


def answer(request, response):
    """Return the parsed JSON of the response, when it is what the request is answered with.

    The answer to the creation of a session has `session_id`, whatever the server called it.

    :raises DatacatError: of the kind that the response means, for any other response.
    """
    if response.status in (200, 201):
        parsed = _parsed(response.body)
        if request.path == SESSIONS and request.method == "POST":
            parsed = _with_session_id(parsed)
        if _answers(request, parsed):
            return parsed
    raise _failure(request, response)


def answer_begun(request, response, start):
    """Check the response to the GET of a session of which only the first bytes were kept.

    :param start: those bytes.
    :raises DatacatError: as `answer` does.
    """
    if response.status in (200, 201) and start.lstrip()[:1] == b"{" and b'"id"' in start:
        return
    raise _failure(request, response._replace(body=response.body or start))


def knows_refusal(error):
    """Return whether these are words with which datacat servers are known to refuse."""
    return error.words in _KNOWN_REFUSALS


def retry_after(headers, now_wall):
    """Return how many seconds the server asks to wait (float, at most 3600), or None.

    RFC 9110, 10.2.3: seconds or a date.  A date is measured from the answer's own Date where it
    has one, so that a wrong clock here does not matter.  What makes no sense, is over or asks
    for no wait at all counts as not given.

    :param headers: a mapping of the response's headers that ignores case.
    :param now_wall: seconds since the epoch.
    """
    value = (headers.get("Retry-After") or "").strip()
    if re.match(r"[0-9]+\Z", value):
        # More digits than a float holds are only more than an hour.
        seconds = float(value[:300])
    else:
        until = _http_date(value)
        if until is None:
            return None
        sent = _http_date(headers.get("Date") or "")
        seconds = float(until - (now_wall if sent is None else sent))
    return min(seconds, _LONGEST_RETRY_AFTER) if seconds > 0 else None


def _session_path(server_id):
    # A path of dots alone would be taken for another place, however it is written.
    if not isinstance(server_id, six.string_types) or server_id in _NOT_IDS:
        raise errors.InvalidRecord(
            "a session id must be what create_session() returned, not %r" % (server_id,)
        )
    if not _needs_no_quoting(server_id):
        server_id = parse.quote(six.ensure_binary(server_id, errors="replace"), safe="")
    return SESSIONS + "/" + str(server_id)


def _stamp(record):
    return b'{"timestamp":"' + kinds.rfc3339(record.captured).encode("ascii") + b'"'


def _compressed(body):
    """Return a body as it goes out and its Content-Encoding, None where it stays as it is."""
    if len(body) <= _LONGEST_UNCOMPRESSED:
        return body, None
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, _GZIP_WINDOW)
    return compressor.compress(body) + compressor.flush(), "gzip"


def _with_capture_time(record):
    fields = json.loads(record.body.decode("ascii"))
    captured_at = kinds.rfc3339(record.captured)
    if record.kind == kinds.METRIC:
        fields["tags"] = (fields.get("tags") or []) + [CAPTURED_AT_TAG + captured_at]
    else:
        fields["data"] = dict(fields.get("data") or {})
        fields["data"].setdefault(CAPTURED_AT, captured_at)
    return _encode(fields).encode("ascii")


def _parsed(body):
    """Return a body's JSON, or None when it has none."""
    try:
        return json.loads(body.decode("utf-8"))
    except (ValueError, RuntimeError):
        # RuntimeError: nested deeper than Python's stack allows.
        return None


def _is_health(parsed):
    if not isinstance(parsed, dict):
        return False
    service = parsed.get("service")
    return isinstance(service, six.string_types) and service.startswith("datacat")


def _with_session_id(parsed):
    if isinstance(parsed, dict) and "session_id" not in parsed and "id" in parsed:
        return dict(parsed, session_id=parsed["id"])
    return parsed


def _answers(request, parsed):
    if request.method == "GET":
        if request.path in LISTINGS:
            return isinstance(parsed, list)
        return _is_health(parsed) if request.path == HEALTH else _has_text(parsed, "id")
    if request.path == SESSIONS:
        return _has_text(parsed, "session_id") and _can_be_id(parsed["session_id"]) is not None
    return isinstance(parsed, dict) and (
        parsed.get("status") == "ok" or parsed.get("success") is True
    )


def _has_text(parsed, field):
    if not isinstance(parsed, dict):
        return False
    return isinstance(parsed.get(field), six.string_types) and parsed[field] != ""


def _failure(request, response):
    words = response.body[:_WORDS_READ].decode("utf-8", "replace").strip()
    kind = _failure_kind(response.status, words)
    message = _MESSAGES[kind]
    evidence = {
        "method": request.method,
        "path": request.path,
        "status": response.status,
        "words": words,
        "retry_after": retry_after(response.headers, time.time()),
    }
    if issubclass(kind, errors.Refusal):
        # 407 is a proxy's, whatever its words look like.
        evidence["own_words"] = response.status != 407 and _are_own_words(response.headers, words)
    if kind is errors.Redirected:
        message = message % _host_of(response.headers.get("Location"))
    return kind(message, **evidence)


def _failure_kind(status, words):
    if status == 404 and words[:1].lower() + words[1:] == u"session not found":
        return errors.SessionNotFound
    if status in _FAILURE_KINDS:
        return _FAILURE_KINDS[status]
    if status >= 500:
        return errors.ServerFault
    if status >= 400:
        return errors.OperationUnknown
    return errors.Redirected if status >= 300 else errors.UnexpectedAnswer


_FAILURE_KINDS = {
    400: errors.RequestRefused,
    401: errors.NotAuthorized,
    403: errors.NotAuthorized,
    407: errors.NotAuthorized,
    408: errors.ServerBusy,
    413: errors.RequestRefused,
    422: errors.RequestRefused,
    425: errors.ServerBusy,
    429: errors.ServerBusy,
    501: errors.OperationUnknown,
    503: errors.ServerBusy,
}

_MESSAGES = {
    errors.Redirected: "the answer is a redirect%s, and redirects are never followed: check "
    "base_url, and what stands between here and the server",
    errors.NotAuthorized: "access was denied: check api_key, and the proxy's credentials if one "
    "stands between here and the server",
    errors.SessionNotFound: "the server does not know this session",
    errors.OperationUnknown: "the server does not know this operation: check that base_url leads "
    "to a datacat server",
    errors.RequestRefused: "the server refuses what the request holds",
    errors.ServerBusy: "the server asks to be left alone for a while: try again later",
    errors.ServerFault: "the server failed, and may or may not have done what was asked: try "
    "again later",
    errors.UnexpectedAnswer: "the answer is not a datacat server's: check base_url, and whether "
    "this network wants a login first",
}


def _are_own_words(headers, words):
    """Return whether a refusal reads as a datacat server's: one line of plain text."""
    content_type = (headers.get("Content-Type") or "").lower()
    return (
        content_type.split(";")[0].strip() == "text/plain"
        and 0 < len(words) <= _LONGEST_OWN_WORDS
        and u"\n" not in words
        and u"<" not in words
    )


def _host_of(location):
    """Return " to <scheme and host>" of a URL; the rest of one may hold secrets."""
    try:
        parts = parse.urlsplit(location or "")
        return " to %s://%s" % (parts.scheme, parts.hostname) if parts.hostname else ""
    except ValueError:
        return ""


def _http_date(value):
    """Return an HTTP-date (RFC 9110, 5.6.7) as seconds since the epoch, or None."""
    # Imported late: it takes as long as half of `import datacat`, and dates are rare.
    import calendar
    import email.utils

    try:
        parsed = email.utils.parsedate_tz(value)
        return calendar.timegm(parsed[:6] + (0, 0, 0)) - (parsed[9] or 0)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
