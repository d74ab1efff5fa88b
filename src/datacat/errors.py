"""The library's exceptions: one tree, evidence as attributes.

Belongs here: the classes.  Does not: which of them a failure leads to (see `wire`).
"""

from __future__ import absolute_import, division

import re

import six

_WORDS_KEPT = 500
_UNPRINTABLE = re.compile(u"[\\s\u0000-\u001f\u007f-\u009f]+", re.UNICODE)


@six.python_2_unicode_compatible
class DatacatError(Exception):
    """The base class of this library's exceptions.

    :ivar retriable: whether the same call may succeed if repeated (bool).
    :ivar message: what happened and what to do, without the evidence below (text).
    :ivar method: the request's HTTP method, or None.
    :ivar path: the request's path, without host and query, or None.
    :ivar status: the HTTP status of the answer (int), or None if there was none.
    :ivar words: what the server said (text, at most 500 characters), or None.
    :ivar retry_after: how many seconds the server asked to wait (float), or None.

    None of these contains the API key.  Errors can be pickled and copied.
    """

    retriable = False

    def __init__(self, message, method=None, path=None, status=None, words=None, retry_after=None):
        super(DatacatError, self).__init__(message)
        self.message = message
        self.method = method
        self.path = None if path is None else path.split("?", 1)[0].split("#", 1)[0]
        self.status = status
        self.words = None if words is None else six.ensure_text(words, errors="replace")
        if self.words is not None:
            self.words = self.words[:_WORDS_KEPT]
        self.retry_after = retry_after

    def __str__(self):
        evidence = []
        if self.path is not None:
            evidence.append(u"%s %s" % (self.method, self.path) if self.method else self.path)
        if self.status is not None:
            evidence.append(u"status %d" % self.status)
        if self.words and self.words.strip():
            evidence.append(u'the server said "%s"' % _one_line(self.words))
        if self.retry_after is not None:
            evidence.append(u"asked to wait %g s" % self.retry_after)
        message = six.ensure_text(self.message, errors="replace")
        return u"%s (%s)" % (message, u", ".join(evidence)) if evidence else message


class InvalidSettings(DatacatError, ValueError):
    """An option is invalid; the message says which, and what is allowed."""


class InvalidArgument(DatacatError, ValueError):
    """An argument is invalid: a bug in the calling program.

    Raised for what cannot be recorded, and for timeouts, monitor intervals and session ids.
    """


# Its former name.
InvalidRecord = InvalidArgument


class MonitorNotStarted(DatacatError):
    """A heartbeat, a pause or its end came while no monitor was started."""


class NotDelivered(DatacatError):
    """Not all waiting records were delivered in time; they are kept."""

    retriable = True


class NotSent(DatacatError):
    """The request had no effect: connection refused, unknown host, no connection in time."""

    retriable = True


class CutShort(NotSent):
    """The request had no effect: the connection broke before all of it was sent."""


class TlsFailure(NotSent):
    """No trusted connection: wrong certificate or name, failed handshake; nothing was sent."""

    retriable = False


class OutcomeUnknown(DatacatError):
    """The request may have taken effect: it was sent, but no complete answer came."""

    retriable = True


class Redirected(DatacatError):
    """The server answered with a redirect; redirects are never followed."""


class Refusal(DatacatError):
    """The request was refused, by the server or by something in front of it.

    :ivar own_words: whether the answer is one line of plain text, like a datacat server's (bool).
        HTML and the like may come from a proxy or a portal.
    """

    def __init__(
        self,
        message,
        method=None,
        path=None,
        status=None,
        words=None,
        retry_after=None,
        own_words=True,
    ):
        super(Refusal, self).__init__(message, method, path, status, words, retry_after)
        self.own_words = own_words


class NotAuthorized(Refusal):
    """The key is missing or wrong, or a proxy asks for credentials (401, 403, 407)."""


class SessionNotFound(DatacatError):
    """The server does not know this session (any more)."""


class OperationUnknown(DatacatError):
    """The server does not know this operation: another service, or a wrong base_url."""


class RequestRefused(Refusal):
    """The server refused the content of the request (400, 413, 422)."""


class ServerBusy(DatacatError):
    """The server asked to try again later (408, 425, 429, 503)."""

    retriable = True


class ServerFault(DatacatError):
    """The server failed (500, 502, 504 and other 5xx); the request may have taken effect."""

    retriable = True


class UnexpectedAnswer(DatacatError):
    """A 2xx answer that no datacat server gives, such as a captive portal's."""

    retriable = True


def _one_line(words):
    return _UNPRINTABLE.sub(u" ", words).strip()


_WHAT_TO_PASS = {
    NotAuthorized: "pass api_key= or set DATACAT_API_KEY",
    RequestRefused: "pass product= and version=, and check base_url",
}


def with_advice(refusal):
    """Return the error with which a server refused to open a session, with what to do."""
    advice = _WHAT_TO_PASS.get(type(refusal), "check base_url")
    return type(refusal)(
        "the server refused to open the session: %s" % advice,
        method=refusal.method,
        path=refusal.path,
        status=refusal.status,
        words=refusal.words,
    )


def not_delivered(stats, session_id, seconds):
    """Return the error of a session that waited in vain.

    :param stats: what its `stats()` returned then.
    :param seconds: how long it waited (number).
    """
    trouble = ": " + stats["last_error"] if stats["last_error"] else ""
    return NotDelivered(
        "%d records of session %s were not delivered within %g s%s; they are kept and will be sent"
        % (stats["waiting"], session_id, seconds, trouble)
    )
