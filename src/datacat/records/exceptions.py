"""The fields of the event that records an exception.

Belongs here: what is recorded of an exception, and how it is cut to fit.  Does not: which
exceptions are logged, and when.
"""

from __future__ import absolute_import, division

import sys
import traceback

import six

from . import jsonable
from .build import MAX_BYTES

_TEXT = six.string_types
_MOST_CAUSES = 16
# A dict keeps a sixteenth as many keys: enough for an exception's own fields.
_SHORTEST_CUT = 256
_EXCEPTION_KEYS = (u"type", u"message", u"traceback", u"causes")
_NO_EXCEPTION = u"no exception was being handled"


def exception(exc_info=None, extra_data=None):
    """Return the fields of the event that records an exception.  Never raises.

    :param exc_info: a tuple as from `sys.exc_info()`, or an exception.  Anything else means the
        exception being handled.
    :param extra_data: a dict merged into `data`.  A key that the exception's own data uses becomes
        "extra_<key>".
    :returns: a dict.
    """
    if not isinstance(exc_info, (tuple, BaseException)):
        exc_info = sys.exc_info()
    try:
        return _exception_fields(_triple(exc_info), extra_data)
    except Exception as error:
        reason = u"this exception could not be described: %s" % jsonable.describe(error)
        return _exception_event(u"unknown", reason, reason, [])


def encode_cut(fields, limit=MAX_BYTES):
    """Return an exception's fields as JSON (bytes), cut with markers to fit.  Never raises.

    :param fields: a dict; it is read, not changed.
    :param limit: the maximum size in bytes (int), at least 64 KiB.
    """
    body = jsonable.encode(fields, jsonable.UNLIMITED)
    if len(body) <= limit:
        return body
    whole = jsonable.plain(fields)
    longest = limit // 4
    while longest >= _SHORTEST_CUT:
        body = jsonable.encode(jsonable.cut(whole, longest, _EXCEPTION_KEYS), jsonable.UNLIMITED)
        if len(body) <= limit:
            return body
        longest //= 4
    return jsonable.encode(jsonable.cut(_without_extra(whole), _SHORTEST_CUT), jsonable.UNLIMITED)


def _triple(exc_info):
    if isinstance(exc_info, BaseException):
        return type(exc_info), exc_info, getattr(exc_info, "__traceback__", None)
    kind, error, trace = exc_info
    return kind, error, trace


def _exception_fields(triple, extra_data):
    kind, error, trace = triple
    if kind is None and error is None:
        fields = _exception_event(u"NoneType", _NO_EXCEPTION, u"NoneType: None\n", [])
    else:
        lines = [_decoded(line) for line in traceback.format_exception(kind, error, trace)]
        frames = [_decoded(line).strip() for line in traceback.format_tb(trace)]
        name = _decoded(getattr(kind, "__name__", type(error).__name__))
        fields = _exception_event(name, jsonable.message_of(error), u"".join(lines), frames)
        causes = _causes(error)
        if causes:
            fields["data"]["causes"] = causes
        _add_source(fields, trace)
    _add_extra(fields["data"], extra_data)
    return fields


def _exception_event(name, message, trace, frames):
    return {
        "name": "exception",
        "category": "error",
        "data": {"type": name, "message": message, "traceback": trace},
        "message": u"%s: %s" % (name, message) if message else name,
        "exception_type": name,
        "exception_msg": message,
        "stacktrace": frames,
    }


def _add_source(fields, trace):
    if trace is None:
        return
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    fields["source_file"] = _decoded(code.co_filename)
    fields["source_line"] = trace.tb_lineno
    fields["source_function"] = _decoded(code.co_name)


def _causes(error):
    """Return the chain of an exception's causes and contexts, nearest first (Python 3)."""
    causes = []
    seen = set([id(error)])
    while len(causes) < _MOST_CAUSES:
        relation, error = _cause(error)
        if error is None or id(error) in seen:
            break
        seen.add(id(error))
        causes.append(
            {
                "type": _decoded(type(error).__name__),
                "message": jsonable.message_of(error),
                "relation": relation,
            }
        )
    return causes


def _cause(error):
    cause = getattr(error, "__cause__", None)
    if cause is not None:
        return "cause", cause
    if getattr(error, "__suppress_context__", False):
        return None, None
    return "context", getattr(error, "__context__", None)


def _add_extra(data, extra_data):
    if extra_data is None:
        return
    if not isinstance(extra_data, dict):
        extra_data = {"extra_data": extra_data}
    for key, value in jsonable.snapshot(extra_data):
        while isinstance(key, _TEXT) and key in data:
            key = "extra_" + key
        data[key] = value


def _without_extra(whole):
    data = whole.get("data")
    own = _EXCEPTION_KEYS if isinstance(data, dict) else ()
    return dict(
        whole,
        stacktrace=[],
        data=dict((key, data[key]) for key in own if key in data and key != "causes"),
    )


def _decoded(given):
    return given if isinstance(given, six.text_type) else jsonable.decode(given)
