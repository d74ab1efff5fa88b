"""The two generations of servers, classic and v1: a record as a request of either.

Belongs here: paths and bodies.  Does not: I/O, and what a response means (`answers`).
"""

from __future__ import absolute_import, division

import collections
import json
import re
import zlib

import six
from six.moves.urllib import parse

from .. import errors
from ..records import kinds
from ..records.build import MAX_BYTES
from .folding import folded

# method; path: absolute and percent-encoded; body: bytes or None; repeatable: whether sending it
# twice has the same effect as once; encoding: the body's Content-Encoding or None.
Request = collections.namedtuple("Request", "method path body repeatable encoding")
Request.__new__.__defaults__ = (None,)

_CAPTURED_AT = u"_captured_at"
_CAPTURED_AT_TAG = u"captured_at:"

SESSIONS = "/api/sessions"
HEALTH = "/health"
LISTINGS = ("/api/grafana/sessions", "/api/data/sessions")
_OPERATIONS = {
    kinds.STATE: "/state",
    kinds.EVENT: "/events",
    kinds.EXCEPTION: "/events",
    kinds.REPORT: "/events",
    kinds.METRIC: "/metrics",
    kinds.END: "/end",
    kinds.CRASH: "/crash",
}
_NOT_IDS = frozenset(("", ".", ".."))
# Compressing a smaller body costs more than it saves.
_LONGEST_UNCOMPRESSED = 1024
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # zlib's way to ask for gzip; 2.7's `gzip` needs a file

_needs_no_quoting = re.compile(r"[0-9A-Za-z_-]+\Z").match
_encode = json.JSONEncoder(separators=(",", ":")).encode


class _Dialect(object):
    """Requests that both generations share."""

    name = None
    _listing_path = None

    def __repr__(self):
        return "<dialect %s>" % self.name

    def open(self, body):
        """Return the request that creates a session."""
        return Request("POST", SESSIONS, body, False)

    def read(self, server_id):
        """Return the request that reads a whole session."""
        return Request("GET", _session_path(server_id), None, True)

    def listing(self):
        """Return the request that lists all sessions."""
        return Request("GET", self._listing_path, None, True)


class _Classic(_Dialect):
    """Stamps records on arrival; knows name, data, value and tags only; has no heartbeat."""

    name = "classic"
    _listing_path = LISTINGS[0]

    def send(self, record, server_id, late=False, fold=False):
        """Return the request that delivers a record.

        :param late: whether to add the capture time to an event or metric.
        :param fold: whether to fold fields that the server does not know (see `folding`).
        """
        kind = record.kind
        body = record.body
        if (late or fold) and kind in kinds.TIMED:
            body = _body(record, late, fold)
        elif kind == kinds.CRASH:
            kind, body = kinds.END, b"{}"
        return Request(
            "POST", _session_path(server_id) + _OPERATIONS[kind], body, kind == kinds.STATE
        )

    def forms(self, record):
        """Return the fields of an event or metric in every form in which it may have been sent."""
        fields = _fields(record)
        return [
            _form(record, fields, late, fold) for late in (False, True) for fold in (False, True)
        ]

    def heartbeat(self, server_id):
        """Return None: this generation has no heartbeat."""
        return None


class _V1(_Dialect):
    """Keeps a record's own time and all its fields; accepts gzip; expects heartbeats."""

    name = "v1"
    _listing_path = LISTINGS[1]

    def send(self, record, server_id, late=False, fold=False):
        """Return the request that delivers a record; `late` and `fold` make no difference here."""
        kind = record.kind
        body = record.body
        if kind in kinds.TIMED:
            body = b"".join((_stamp(record), b"," if body != b"{}" else b"", body[1:]))
        elif kind == kinds.STATE:
            # Always in the envelope: a plain state with a key "state" would be mistaken for it.
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
        """Return the request that reports that a session is alive."""
        return Request("POST", _session_path(server_id) + "/heartbeat", b"{}", True)


CLASSIC = _Classic()
V1 = _V1()


def health():
    """Return the request that only a v1 server answers."""
    return Request("GET", HEALTH, None, True)


def _session_path(server_id):
    # A segment of dots only leads to another path, even percent-encoded.
    if not isinstance(server_id, six.string_types) or server_id in _NOT_IDS:
        raise errors.InvalidArgument(
            "a session id must be what create_session() returned, not %r" % (server_id,)
        )
    if not _needs_no_quoting(server_id):
        server_id = parse.quote(six.ensure_binary(server_id, errors="replace"), safe="")
    return SESSIONS + "/" + str(server_id)


def stamp_of(record):
    """Return the time that identifies a record on v1, with nine digits (bytes)."""
    return kinds.rfc3339(record.captured, record.digits).encode("ascii")


def _stamp(record):
    return b'{"timestamp":"' + stamp_of(record) + b'"'


def _compressed(body):
    """Return the body to send and its Content-Encoding, None if it is not compressed."""
    if len(body) <= _LONGEST_UNCOMPRESSED:
        return body, None
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, _GZIP_WINDOW)
    return compressor.compress(body) + compressor.flush(), "gzip"


def _body(record, late, fold):
    fields = _fields(record)
    form = _form(record, fields, late, fold)
    if form is fields:
        return record.body
    body = _encode(form).encode("ascii")
    # JSON within a tag grows by every quote.
    return body if len(body) <= MAX_BYTES else record.body


def _fields(record):
    return json.loads(record.body.decode("ascii"))


def _form(record, fields, late, fold):
    """Return a record's fields as they are sent; the same dict if nothing changes."""
    if not _is_sound(record.kind, fields):
        return fields  # the server refuses it
    if fold:
        fields = folded(record.kind, fields)
    return _with_capture_time(record, fields) if late else fields


def _is_sound(kind, fields):
    """Return whether there is a place for more in a record; an older datacat checked less."""
    if kind != kinds.METRIC:
        return isinstance(fields.get("data") or {}, dict)
    tags = fields.get("tags") or []
    return isinstance(tags, list) and all(isinstance(tag, six.text_type) for tag in tags)


def _with_capture_time(record, fields):
    captured_at = kinds.rfc3339(record.captured)
    if record.kind == kinds.METRIC:
        return dict(fields, tags=(fields.get("tags") or []) + [_CAPTURED_AT_TAG + captured_at])
    data = dict(fields.get("data") or {})
    data.setdefault(_CAPTURED_AT, captured_at)
    return dict(fields, data=data)
