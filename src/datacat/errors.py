"""Everything the library raises on purpose: one tree, evidence as attributes.

Only classes live here. What leads to which of them is decided in `transport` and `dialects`.
"""

from __future__ import absolute_import, division

import re

import six

_WORDS_KEPT = 500
_UNPRINTABLE = re.compile(u"[\\s\u0000-\u001f\u007f-\u009f]+", re.UNICODE)


@six.python_2_unicode_compatible
class DatacatError(Exception):
    """The root of all errors of this library.

    :ivar retriable: whether the same call, made again, may well succeed.
    :ivar message: what happened and what to do, without the evidence below (text).
    :ivar method: the HTTP method of the call, or None.
    :ivar path: the URL path of the call, without host and query, or None.
    :ivar status: the HTTP status that came back (int), or None when none came.
    :ivar words: what the server said (text, at most 500 characters), or None.
    :ivar retry_after: seconds the server asked to wait (float), or None.

    It never carries the API key. It can be pickled and copied.
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
    """A base_url or an option that cannot work; says which and what is allowed."""


class InvalidRecord(DatacatError, ValueError):
    """What was given to a log call cannot be recorded; a fault of the calling program."""


class MonitorNotStarted(DatacatError):
    """`heartbeat()` was called before `start_heartbeat_monitor()`."""


class NotDelivered(DatacatError):
    """What had to be delivered first was not, within the time given. Nothing is lost."""

    retriable = True


class NotSent(DatacatError):
    """The request surely took no effect: refused, no such host, never connected."""

    retriable = True


class TlsFailure(NotSent):
    """No trusted connection: certificate, name or handshake. Nothing was sent."""

    retriable = False


class OutcomeUnknown(DatacatError):
    """The request may or may not have taken effect: it was sent, no whole answer came."""

    retriable = True


class Redirected(DatacatError):
    """The server answered with a redirect. They are never followed."""


class Refusal(DatacatError):
    """What was asked for is refused, by the server or by something that answers in its place.

    :ivar own_words: whether it was said as a datacat server says it, in one line of plain text.
        False for HTML and the like, which something else on the way may have written.
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
    """The key is missing or wrong, or a proxy wants credentials (401, 403, 407)."""


class SessionNotFound(DatacatError):
    """The server does not know this session (any more)."""


class OperationUnknown(DatacatError):
    """The server does not know this operation: another service, or another base_url."""


class RequestRefused(Refusal):
    """The server refuses what the request holds (400, 413, 422)."""


class ServerBusy(DatacatError):
    """The server wants to be asked later (408, 425, 429, 503)."""

    retriable = True


class ServerFault(DatacatError):
    """The server failed (500, 502, 504 and other 5xx); the request may have taken effect."""

    retriable = True


class UnexpectedAnswer(DatacatError):
    """A 2xx that is not what a datacat server answers, as a captive portal gives."""

    retriable = True


def _one_line(words):
    return _UNPRINTABLE.sub(u" ", words).strip()
