"""What is recorded: the kinds of record, the checks on what a program gives, their JSON.

What may live here: builders of wire fields without a time, and encoding them.  What may not:
I/O, clocks, servers and what they understand.
"""

from __future__ import absolute_import, division

import collections
import datetime
import decimal
import json
import numbers
import sys
import traceback

import six

from . import jsonable
from .errors import InvalidRecord

OPEN = "open"
STATE = "state"
EVENT = "event"
METRIC = "metric"
EXCEPTION = "exception"
END = "end"
CRASH = "crash"

MAX_BYTES = 1024 * 1024
LONGEST_REPORT = 128

_DROPPED = "datacat_records_dropped"
_TEXT = six.string_types
_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECONDS = 10**6
_LARGEST_COUNT = 2**63 - 1
_LARGEST_FLOAT = sys.float_info.max
_BARE_NUMBERS = frozenset((float,) + six.integer_types)
_MOST_CAUSES = 16
# A sixteenth of it is how many keys a dict keeps: all of an exception's own fields.
_SHORTEST_CUT = 256
_EXCEPTION_KEYS = (u"type", u"message", u"traceback", u"causes")
_NO_EXCEPTION = u"no exception was being handled"

# session: the outbox's number for the session; number: 1, 2, 3... within the session; kind: one of
# the above; body: JSON in ASCII (bytes); captured: microseconds since the epoch, UTC.
Record = collections.namedtuple("Record", "session number kind body captured")


def event(name, data=None, category=None, group=None, labels=None, message=None):
    """Return the fields of an event.

    :param name: a non-empty string.
    :param data: a dict or None; its values may be anything (see `encode`).
    :param category: how grave it is, such as "warning" (string or None).
    :param group: what it belongs to (string or None).
    :param labels: strings, as a list, tuple or set, or None.
    :param message: one line for people (string or None).
    :raises InvalidRecord: for any other type.
    """
    _check_name(name)
    if data is None:
        data = {}
    elif not isinstance(data, dict):
        raise _invalid("data", "a dict or None", data)
    fields = {"name": name, "data": data}
    if category is not None:
        fields["category"] = _text("category", category)
    if group is not None:
        fields["group"] = _text("group", group)
    if labels is not None:
        fields["labels"] = _strings("labels", labels)
    if message is not None:
        fields["message"] = _text("message", message)
    return fields


def metric(name, value, tags=None, type=None, unit=None, count=None, metadata=None):
    """Return the fields of a metric.

    :param name: a non-empty string.
    :param value: a finite real number; Decimal, Fraction and numpy's are taken as floats.
    :param tags: strings, as a list, tuple or set, or None.
    :param type: "gauge", "counter", "histogram" or "timer" to a v1 server (string or None).
    :param unit: what the value counts, such as "seconds" (string or None).
    :param count: how many observations the value stands for (int or None).
    :param metadata: a dict or None.
    :raises InvalidRecord: for any other type, and for NaN and infinities.
    """
    _check_name(name)
    fields = {"name": name, "value": _finite("value", value)}
    if tags is not None:
        fields["tags"] = _strings("tags", tags)
    if type is not None:
        fields["type"] = _text("type", type)
    if unit is not None:
        fields["unit"] = _text("unit", unit)
    if count is not None:
        fields["count"] = _count(count)
    if metadata is not None:
        if not isinstance(metadata, dict):
            raise _invalid("metadata", "a dict or None", metadata)
        fields["metadata"] = metadata
    return fields


def state(state):
    """Return the update of a session's state: the dict itself.

    :raises InvalidRecord: when it is not a dict.
    """
    if not isinstance(state, dict):
        raise _invalid("state", "a dict", state)
    return state


def exception(exc_info=None, extra_data=None):
    """Return the fields of the event that tells of an exception.  Never raises.

    :param exc_info: what `sys.exc_info()` returns, or an exception; anything else: the exception
        that is being handled.
    :param extra_data: a dict merged into `data`.  A key that the exception's own data uses is
        kept as "extra_<key>".
    """
    if not isinstance(exc_info, (tuple, BaseException)):
        exc_info = sys.exc_info()
    try:
        return _exception_fields(_triple(exc_info), extra_data)
    except Exception as error:
        told = u"this exception could not be told: %s" % jsonable.describe(error)
        return _exception_event(u"unknown", told, told, [])


def opening(product, version, hostname=None, machine_id=None):
    """Return the body that creates a session.

    :raises InvalidRecord: unless product and version are non-empty strings, the others strings
        or None.
    """
    fields = {}
    for argument, given in (("product", product), ("version", version)):
        if not isinstance(given, _TEXT) or not given:
            raise _invalid(argument, "a non-empty string", given)
        fields[argument] = given
    if hostname is not None:
        fields["hostname"] = _text("hostname", hostname)
    if machine_id is not None:
        fields["machine_id"] = _text("machine_id", machine_id)
    return fields


def dropped(count):
    """Return the fields of the event that tells a server of lost records."""
    return event(_DROPPED, {"count": count}, category="warning")


def told_in(body):
    """Return how many lost records an event's body tells of, None where it is no such event."""
    if len(body) > LONGEST_REPORT or _DROPPED.encode("ascii") not in body:
        return None
    try:
        fields = json.loads(body.decode("ascii"))
        count = fields["data"]["count"]
        return count if fields == dropped(count) and count > 0 else None
    except (ValueError, LookupError, TypeError):
        return None


def crash(reason):
    """Return the body that tells a v1 server of a crash."""
    if not isinstance(reason, _TEXT):
        raise _invalid("reason", "a string", reason)
    return {"reason": reason}


def encode(fields, limit=MAX_BYTES):
    """Return fields as JSON (bytes, ASCII, no spaces).

    What JSON lacks is converted: datetime, date and time to ISO 8601, timedelta to seconds,
    Decimal, UUID and paths to their text, an Enum to its value, bytes decoded as UTF-8, sets to
    sorted lists, numpy's values to Python's, exceptions to "Type: message", NaN and infinities
    and integers beyond a float's range to text, anything else to its repr.  Cycles and what is
    deeper than 64 levels are cut with a marker; lone surrogates become U+FFFD.

    :param limit: how many bytes it may have.
    :raises InvalidRecord: when it has more.
    """
    body = jsonable.dumps(fields)
    if len(body) > limit:
        raise InvalidRecord(
            "a record of %d bytes is over the limit of %d: log less in one call%s"
            % (len(body), limit, _named(fields))
        )
    return body


def encode_cut(fields, limit=MAX_BYTES):
    """Return an exception's fields as JSON within `limit` bytes, cut with markers where needed.

    Never raises.

    :param limit: how many bytes it may have, 64 KiB at least.
    """
    body = jsonable.dumps(fields)
    if len(body) <= limit:
        return body
    whole = jsonable.plain(fields)
    longest = limit // 4
    while longest >= _SHORTEST_CUT:
        body = jsonable.dumps(jsonable.cut(whole, longest, _EXCEPTION_KEYS))
        if len(body) <= limit:
            return body
        longest //= 4
    return jsonable.dumps(jsonable.cut(_without_extra(whole), _SHORTEST_CUT))


def rfc3339(captured):
    """Return microseconds since the epoch as RFC 3339 in UTC, such as "2026-01-02T03:04:05.1Z".

    The fraction has no trailing zeros, and is left out when it is 0, as v1 servers return it.
    """
    seconds, fraction = divmod(captured, _MICROSECONDS)
    moment = (_EPOCH + datetime.timedelta(0, seconds)).isoformat()
    if not fraction:
        return moment + "Z"
    return moment + (".%06d" % fraction).rstrip("0") + "Z"


def _check_name(name):
    if not isinstance(name, _TEXT) or not name:
        raise _invalid("name", "a non-empty string", name)


def _text(argument, given):
    if not isinstance(given, _TEXT):
        raise _invalid(argument, "a string or None", given)
    return given


def _strings(argument, given):
    if not isinstance(given, (list, tuple, set, frozenset)):
        raise _invalid(argument, "a list of strings or None", given)
    strings = list(given)
    for string in strings:
        if not isinstance(string, _TEXT):
            raise _invalid(argument, "strings only", string)
    return strings if isinstance(given, (list, tuple)) else sorted(strings)


def _finite(argument, given):
    if type(given) in _BARE_NUMBERS and -_LARGEST_FLOAT <= given <= _LARGEST_FLOAT:
        return given
    try:
        number = given.item() if hasattr(type(given), "dtype") else given
        if isinstance(number, numbers.Integral):
            number = int(number)
            finite = float(number) - float(number) == 0
        elif isinstance(number, (numbers.Real, decimal.Decimal)):
            number = float(number)
            finite = number - number == 0
        else:
            finite = False
    except Exception:
        finite = False
    if not finite:
        raise _invalid(argument, "a finite number", given)
    return number


def _count(given):
    if not isinstance(given, numbers.Integral) or not abs(int(given)) <= _LARGEST_COUNT:
        raise _invalid("count", "an integer of at most 64 bits", given)
    return int(given)


def _invalid(argument, wanted, given):
    shown = jsonable.text_of(repr, given)
    shown = shown if len(shown) <= 80 else shown[:77] + u"..."
    return InvalidRecord(
        u"%s must be %s, not %s (%s)" % (argument, wanted, shown, type(given).__name__)
    )


def _named(fields):
    name = fields.get("name")
    if not isinstance(name, _TEXT):
        return ""
    return " (name %s)" % jsonable.text_of(repr, name[:80])


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
    """Return what an exception was raised from or while handling, nearest first (Python 3)."""
    causes = []
    told = set([id(error)])
    while len(causes) < _MOST_CAUSES:
        relation, error = _cause(error)
        if error is None or id(error) in told:
            break
        told.add(id(error))
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
