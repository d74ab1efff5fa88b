"""The fields of the event that records an exception.

Belongs here: what is recorded of an exception, and how it is cut to fit.  Does not: which
exceptions are logged, and when.
"""

from __future__ import absolute_import, division

import collections
import sys

import six

from ..stack import raise_if_exhausted
from . import cutting, jsonable, reading, tracebacks
from .build import MAX_BYTES, is_a, text_or_str

_TEXT = six.string_types
_CLASSES = six.class_types
# Types of keys whose methods cannot raise.
_EXACT = frozenset((type(None), bool, float, str, six.text_type) + six.integer_types)
# A dict keeps a sixteenth as many keys: enough for an exception's own fields.
_SHORTEST_CUT = 256
_EXCEPTION_KEYS = (u"type", u"message", u"traceback", u"causes", u"exception_id")
_NO_EXCEPTION = u"no exception was being handled"
# The topic and text of a warning.
NOTHING_TO_TELL = (
    "no exception",
    "log_exception was called without an exception, and outside of an except block; its record "
    "says so: pass the exception, log_exception(error)",
)


def sort_out(first, second, handled):
    """Return (exc_info, extra_data) of a call like `log_exception(first, second)`.

    :param first: extra data, an exception, or a tuple as from `sys.exc_info()`; or None.
    :param second: the same.
    :param handled: what `sys.exc_info()` returned in the call: used if neither is an exception.
    """
    if _is_exception(first):
        return first, None if _is_exception(second) else second
    return (second if _is_exception(second) else handled), first


def is_told(exc_info):
    """Return whether there is an exception at all in what `sort_out` returned."""
    return _is_exception(exc_info)


def _is_exception(given):
    if issubclass(type(given), BaseException):
        return True
    # Not compared: the class of an exception may have a metaclass that raises then.
    parts = reading.elements(given) if issubclass(type(given), tuple) else ()
    return len(parts) == 3 and any(part is not None for part in parts)


def exception(
    exc_info=None, extra_data=None, reference=None, category=None, group=None, message=None
):
    """Return the fields of the event that records an exception.  Never raises.

    What cannot be told of it is replaced by the reason, part by part.

    :param exc_info: a tuple as from `sys.exc_info()`, or an exception.  Anything else means the
        exception being handled.
    :param extra_data: a dict merged into `data`.  A key that the exception's own data uses becomes
        "extra_<key>".
    :param reference: what other events name it by (text or None).
    :param category, group, message: to record instead of those of every exception, or None.
    :returns: a dict.
    """
    if not issubclass(type(exc_info), (tuple, BaseException)):
        exc_info = sys.exc_info()
    kind, error, trace = triple(exc_info)
    if kind is None and error is None:
        fields = _exception_event(u"NoneType", _NO_EXCEPTION, u"NoneType: None\n", [])
    else:
        fields = _exception_fields(kind, error, trace)
    if reference is not None:
        fields["data"]["exception_id"] = reference
    for name, given in (("category", category), ("group", group), ("message", message)):
        if given is not None:
            fields[name] = _part(text_or_str, given)
    _part(_add_extra, fields["data"], extra_data)
    return fields


def seen_again(exc_info, extra_data, reference, category=None, group=None, message=None):
    """Return the fields of the event that adds to an exception told before.  Never raises.

    The parameters are those of `exception`.
    """
    fields = exception(exc_info, extra_data, reference, category, group, message)
    for name in ("exception_type", "exception_msg", "stacktrace"):
        del fields[name]
    # Those that the application brings are called "extra_<key>".
    for name in ("traceback", "causes"):
        fields["data"].pop(name, None)
    return dict(fields, name="exception_seen_again")


def name_and_place(exc_info):
    """Return an exception's class by name, and (file, line, function) where it was raised.

    In a fraction of the time that `exception` takes.  The place is None if there is no traceback.

    :param exc_info: as for `exception`.
    """
    kind, error, trace = triple(exc_info)
    last = tracebacks.Trace(trace, 1).last
    return _name(kind, error), None if last is None else _place(last)


def _part(tell, *arguments):
    """Return `tell(...)`, or why that was impossible, as text."""
    try:
        return tell(*arguments)
    except jsonable.RAISED_BY_VALUES as error:
        raise_if_exhausted(error)
        return u"<could not be told: %s>" % jsonable.describe(error)


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
        body = jsonable.encode(cutting.cut(whole, longest, _EXCEPTION_KEYS), jsonable.UNLIMITED)
        if len(body) <= limit:
            return body
        longest //= 4
    return jsonable.encode(cutting.cut(_without_extra(whole), _SHORTEST_CUT), jsonable.UNLIMITED)


def triple(exc_info):
    """Return (class, exception, traceback) of an exception or of a tuple of these."""
    if issubclass(type(exc_info), BaseException):
        return type(exc_info), exc_info, tracebacks.trace_of(exc_info)
    parts = reading.elements(exc_info)
    kind, error, trace = parts if len(parts) == 3 else (None, None, None)
    return kind, error, tracebacks.checked_trace(trace)


def _exception_fields(kind, error, trace):
    trace = tracebacks.Trace(trace)
    name = _part(_name, kind, error)
    fields = _exception_event(
        name,
        jsonable.message_of(error),
        _part(tracebacks.text, kind, error, trace),
        _part(trace.lines),
    )
    causes = _part(_causes, error)
    if causes:
        fields["data"]["causes"] = causes
    _part(_add_source, fields, trace.last)
    return fields


def _name(kind, error):
    return jsonable.name_of(kind if issubclass(type(kind), _CLASSES) else type(error))


def _exception_event(name, message, trace, frames):
    return {
        "name": "exception",
        "category": "error",
        "data": {"type": name, "message": message, "traceback": trace},
        "message": u"%s: %s" % (name, message) if message else name,
        "exception_type": name,
        "exception_msg": message,
        "stacktrace": [line.strip() for line in frames] if isinstance(frames, list) else [frames],
    }


def _add_source(fields, trace):
    if trace is None:
        return
    for name, value in zip(("source_file", "source_line", "source_function"), _place(trace)):
        fields[name] = value


def _place(trace):
    code = trace.tb_frame.f_code
    return _decoded(code.co_filename), trace.tb_lineno, _decoded(code.co_name)


def _causes(error):
    """Return causes, contexts and members of groups, nearest first."""
    causes = []
    seen = set([id(error)])
    waiting = collections.deque(tracebacks.related(error))
    while waiting and len(causes) < tracebacks.MOST_CAUSES:
        relation, error = waiting.popleft()
        if id(error) in seen:
            continue
        seen.add(id(error))
        waiting.extend(tracebacks.related(error))
        causes.append(
            {
                "type": _part(_name, type(error), error),
                "message": jsonable.message_of(error),
                "relation": relation,
            }
        )
    return causes


def _add_extra(data, extra_data):
    if extra_data is None:
        return
    if not is_a(extra_data, dict):
        extra_data = {"extra_data": extra_data}
    for key, value in reading.snapshot(extra_data):
        if type(key) not in _EXACT:
            key = jsonable.key_of(key)
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
