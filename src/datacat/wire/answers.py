"""What a response means: the parsed answer, or the error that says what went wrong.

Belongs here: status codes, the servers' words, Retry-After, and telling the two generations
apart.  Does not: I/O, requests (those are in `dialects`), and what an error leads to.
"""

from __future__ import absolute_import, division

import json
import re
import time

import six
from six.moves.urllib import parse

from .. import errors
from .dialects import CLASSIC, HEALTH, LISTINGS, SESSIONS, V1

_V1_FIELDS = ("suspended", "crashed", "hung", "state_history")
# Every refusal that was seen from real servers.
_KNOWN_REFUSALS = frozenset(
    (
        u"Invalid request body",
        u"Product and version are required fields",
        u"Session ID required",
        u"Unauthorized",
    )
)
_LONGEST_OWN_WORDS = 200
_BOM = b"\xef\xbb\xbf"
# Seconds.
LONGEST_RETRY_AFTER = 3600.0
_WORDS_READ = 2000

# The first one: a session's own id comes before its state.
_updated_follows = re.compile(br'"updated_at"\s{0,16}:\s{0,16}("[^"]{1,64}")')
_id_follows = re.compile(br'"id"\s{0,16}:\s{0,16}("[^"\\]*(?:\\.[^"\\]*)*"|[0-9]{1,40})')
_is_possible_id = re.compile(
    u"(?!\\.\\.?\\Z)[^\\s\u0000-\u001f\u007f-\u009f\ud800-\udfff]{1,200}\\Z", re.UNICODE
).match


# Understanding a response


def answer(request, response):
    """Return the parsed JSON of a successful response to a request.

    The answer to the creation of a session has `session_id`, whatever the server called it.

    :raises DatacatError: for any other response; the class says what it means.
    """
    if response.status in (200, 201):
        parsed = _parsed(response.body)
        if _creates_session(request):
            parsed = _with_session_id(parsed)
        if _answers(request, parsed):
            return parsed
    raise _failure(request, response)


def check_beginning(request, response, start):
    """Check the response to the GET of a session, of which only the beginning was kept.

    :param start: the first bytes of its body.
    :raises DatacatError: as `answer` does.
    """
    start = start[3:] if start.startswith(_BOM) else start
    is_object = start.lstrip()[:1] == b"{"
    if response.status in (200, 201) and is_object and _is_about(request, _id_in(start)):
        return
    raise _failure(request, response._replace(body=response.body or start))


def version(start):
    """Return when a session was last changed, as its server says it (bytes); None if it does not.

    :param start: the first bytes of the answer to its GET.
    """
    found = _updated_follows.search(start.split(b'"state"', 1)[0])
    return None if found is None else found.group(1)


def is_known_refusal(error):
    """Return whether a refusal has words that datacat servers are known to use."""
    return error.words in _KNOWN_REFUSALS


# Telling the generations apart


def recognise_health(response):
    """Return V1 if the response to `health()` is a v1 server's, else None."""
    if response.status != 200:
        return None
    return V1 if _is_health(_parsed(response.body)) else None


def recognise_session(fields):
    """Return the dialect of the server that gave these fields of a session (a dict)."""
    return V1 if any(field in fields for field in _V1_FIELDS) else CLASSIC


def recognise_beginning(start):
    """Return the dialect of the server whose answer to the GET of a session begins like this.

    :param start: bytes; v1's fields come before the state, which may be large.
    """
    before_state = start.split(b'"state":', 1)[0]
    named = (b'"%s"' % field.encode("ascii") for field in _V1_FIELDS)
    return V1 if any(field in before_state for field in named) else CLASSIC


def is_own_health_answer(response):
    """Return whether a datacat server of either generation gave this answer to `health()`."""
    if response.status == 404:
        return _are_own_words(response.headers, response.body.decode("utf-8", "replace").strip())
    return recognise_health(response) is not None


# How long the server asks to wait


def retry_after(headers, now_wall):
    """Return how many seconds the server asks to wait (float, at most 3600), or None.

    RFC 9110, 10.2.3: seconds or a date.  A date is compared with the answer's own Date, if it has
    one, so that a wrong clock here does not matter.  Garbage, a past date and 0 seconds count as
    not given.

    :param headers: a case-insensitive mapping of the response's headers.
    :param now_wall: seconds since the epoch.
    """
    value = (headers.get("Retry-After") or "").strip()
    if re.match(r"[0-9]+\Z", value):
        # A float overflows beyond 308 digits; this many are over an hour anyway.
        seconds = float(value[:300])
    else:
        until = _http_date(value)
        if until is None:
            return None
        sent = _http_date(headers.get("Date") or "")
        seconds = float(until - (now_wall if sent is None else sent))
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None


def _http_date(value):
    """Return an HTTP-date (RFC 9110, 5.6.7) as seconds since the epoch, or None."""
    # Imported late: it takes half as long as `import datacat`, and dates are rare.
    import calendar
    import email.utils

    try:
        parsed = email.utils.parsedate_tz(value)
        return calendar.timegm(parsed[:6] + (0, 0, 0)) - (parsed[9] or 0)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


# What answers what


def _parsed(body):
    """Return a body's JSON, or None if it is not JSON."""
    try:
        return json.loads(body.decode("utf-8-sig"))
    except (ValueError, RuntimeError):
        # RuntimeError: nested deeper than Python's stack allows.
        return None


def _creates_session(request):
    return request.path == SESSIONS and request.method == "POST"


def _answers(request, parsed):
    if request.method == "GET":
        if request.path in LISTINGS:
            return isinstance(parsed, list)
        if request.path == HEALTH:
            return _is_health(parsed)
        return isinstance(parsed, dict) and _is_about(request, parsed.get("id"))
    if _creates_session(request):
        return (
            _has_text(parsed, "session_id") and _is_possible_id(parsed["session_id"]) is not None
        )
    return isinstance(parsed, dict) and (
        parsed.get("status") == "ok" or parsed.get("success") is True
    )


def _is_about(request, given):
    """Return whether the answer to a GET is about the session that was asked for.

    :param given: the id in the answer.
    """
    wanted = parse.unquote(request.path.rsplit("/", 1)[-1])
    if isinstance(wanted, six.binary_type):
        wanted = wanted.decode("utf-8", "replace")
    return _as_id(given) == wanted


def _id_in(start):
    """Return the id in the first bytes of a session, or None."""
    found = _id_follows.search(start)
    return None if found is None else _parsed(found.group(1))


def _as_id(given):
    """Return an id as text: some servers count their sessions."""
    if isinstance(given, six.integer_types) and not isinstance(given, bool):
        return u"%d" % given
    return given


def _is_health(parsed):
    if not isinstance(parsed, dict):
        return False
    service = parsed.get("service")
    return isinstance(service, six.string_types) and service.startswith("datacat")


def _with_session_id(parsed):
    if not isinstance(parsed, dict):
        return parsed
    return dict(parsed, session_id=_as_id(parsed.get("session_id", parsed.get("id"))))


def _has_text(parsed, field):
    if not isinstance(parsed, dict):
        return False
    return isinstance(parsed.get(field), six.string_types) and parsed[field] != ""


# Failures


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
        # A 407 comes from a proxy, whatever its words look like.
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
    errors.Redirected: "the server answered with a redirect%s, and redirects are never followed: "
    "check base_url, and proxies on the way to the server",
    errors.NotAuthorized: "access was denied: check api_key, and the credentials of any proxy",
    errors.SessionNotFound: "the server does not know this session",
    errors.OperationUnknown: "the server does not know this operation: check that base_url leads "
    "to a datacat server",
    errors.RequestRefused: "the server refused the content of the request",
    errors.ServerBusy: "the server is busy and asks for a pause: try again later",
    errors.ServerFault: "the server failed, and may or may not have carried out the request: try "
    "again later",
    errors.UnexpectedAnswer: "this is not a datacat server's answer: check base_url, and whether "
    "this network asks for a login first",
}


def _are_own_words(headers, words):
    """Return whether a refusal looks like a datacat server's: one line of plain text."""
    content_type = (headers.get("Content-Type") or "").lower()
    return (
        content_type.split(";")[0].strip() == "text/plain"
        and 0 < len(words) <= _LONGEST_OWN_WORDS
        and u"\n" not in words
        and u"<" not in words
    )


def _host_of(location):
    """Return " to <scheme and host>" of a URL; the rest may be secret."""
    try:
        parts = parse.urlsplit(location or "")
        return " to %s://%s" % (parts.scheme, parts.hostname) if parts.hostname else ""
    except ValueError:
        return ""
