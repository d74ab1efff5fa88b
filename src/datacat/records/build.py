"""The fields of each kind of record, built from an application's arguments and checked.

Belongs here: builders and their checks.  Does not: how fields are encoded (see `jsonable`), times,
I/O, what each generation of servers supports.
"""

from __future__ import absolute_import, division

import decimal
import numbers
import sys

import six

from ..errors import InvalidArgument
from ..stack import raise_if_exhausted
from . import jsonable, kinds, reading
from .jsonable import MAX_BYTES, encode  # noqa: F401  (a record is built, then encoded)

_TEXT = six.string_types
_TEXTS = frozenset((str, six.text_type))
_SETS = (set, frozenset)
_LISTS = (list, tuple) + _SETS
_LARGEST_COUNT = 2**63 - 1
_LARGEST_FLOAT = sys.float_info.max
_BARE_NUMBERS = frozenset((float,) + six.integer_types)

# `metric` has a parameter of that name.
_kind_of = type

_OF_EVENTS = ("name", "data", "category", "group", "labels", "message")
_SOURCE = ("source_file", "source_line", "source_function")
_OF_EXCEPTIONS = ("exception_type", "exception_msg", "stacktrace")
_FIELDS = {
    kinds.EVENT: _OF_EVENTS + _SOURCE + ("stacktrace",),
    kinds.EXCEPTION: _OF_EVENTS + _SOURCE + _OF_EXCEPTIONS,
    kinds.METRIC: ("name", "value", "tags", "type", "unit", "count", "metadata"),
}
# Which keywords were likely meant where an argument has the type of another one: datacat's own
# newer client takes them in another order.
_MEANT = {
    "data": (_TEXT, "category= or message="),
    "unit": (numbers.Number, "count="),
    "count": (_TEXT, "unit="),
}


def event(
    name,
    data=None,
    category=None,
    group=None,
    labels=None,
    message=None,
    source=None,
    stacktrace=None,
):
    """Return the fields of an event.

    :param name: a non-empty string.
    :param data: a dict of any values (see `encode`), or None.
    :param category: its severity, such as "warning" (string or None).
    :param group: what it belongs to (string or None).
    :param labels: a list, tuple or set of strings, or None.
    :param message: a line of text for humans (string or None).
    :param source: where it was logged: (file, line, function), or None.
    :param stacktrace: a list, tuple or set of strings, or None.
    :returns: a dict; `data` is not copied.
    :raises InvalidArgument: if an argument has another type.
    """
    if type(name) not in _TEXTS:
        name = _bare("name", name)
    if not name:
        raise invalid("name", "a non-empty string", name)
    if data is None:
        data = {}
    elif type(data) is not dict:
        data = _dict("data", "a dict or None", data)
    fields = {"name": name, "data": data}
    if category is not None:
        fields["category"] = _text("category", category)
    if group is not None:
        fields["group"] = _text("group", group)
    if labels is not None:
        fields["labels"] = _strings("labels", labels)
    if message is not None:
        fields["message"] = _text("message", message)
    if source is not None or stacktrace is not None:
        fields.update(_origin(source, stacktrace))
    return fields


def metric(name, value, tags=None, type=None, unit=None, count=None, metadata=None):
    """Return the fields of a metric.

    :param name: a non-empty string.
    :param value: a finite real number; Decimal, Fraction and numpy's become floats.
    :param tags: a list, tuple or set of strings, a dict ({"a": "b"} means ["a:b"]), or None.
    :param type: "gauge", "counter", "histogram" or "timer" on v1 servers (string or None).
    :param unit: the unit of `value`, such as "seconds" (string or None).
    :param count: the number of observations that `value` sums up (int or None).
    :param metadata: a dict of any values, or None.
    :returns: a dict; `metadata` is not copied.
    :raises InvalidArgument: if an argument has another type, or `value` is NaN or infinite.
    """
    if _kind_of(name) not in _TEXTS:
        name = _bare("name", name)
    if not name:
        raise invalid("name", "a non-empty string", name)
    fields = {"name": name, "value": finite("value", value)}
    if tags is not None:
        fields["tags"] = _strings("tags", tags)
    if type is not None:
        fields["type"] = _text("type", type)
    if unit is not None:
        fields["unit"] = _text("unit", unit)
    if count is not None:
        fields["count"] = whole("count", count)
    if metadata is not None:
        fields["metadata"] = _dict("metadata", "a dict or None", metadata)
    return fields


def state(state):
    """Return the fields of an update of a session's state: the dict itself.

    :raises InvalidArgument: if it is not a dict.
    """
    return state if type(state) is dict else _dict("state", "a dict", state)


def checked(kind, fields):
    """Return fields that did not come from a builder as one would have made them.

    What no record of that kind has is left out.

    :param kind: one of `kinds`; only events, exceptions and metrics have a shape.
    :param fields: a dict.
    :raises InvalidArgument: if a field has another type, or a required one is missing.
    """
    if kind not in _FIELDS:
        return fields
    given = dict((name, dict.get(fields, name)) for name in _FIELDS[kind])
    given = dict((name, value) for name, value in given.items() if value is not None)
    if kind == kinds.METRIC:
        return metric(given.pop("name", None), given.pop("value", None), **given)
    extras = [name for name in _SOURCE + _OF_EXCEPTIONS if name in given]
    extras = dict((name, _extra(name, given.pop(name))) for name in extras)
    return dict(event(given.pop("name", None), **given), **extras)


def _extra(name, value):
    if name == "stacktrace":
        return _strings(name, value)
    return whole(name, value) if name == "source_line" else _text(name, value)


def opening(product, version, hostname=None, machine_id=None):
    """Return the fields of the request that creates a session.

    :param product: a non-empty string.
    :param version: a non-empty string.
    :param hostname: a string or None.
    :param machine_id: a string or None.
    :returns: a dict.
    :raises InvalidArgument: if an argument has another type.
    """
    fields = {}
    for argument, given in (("product", product), ("version", version)):
        if not is_a(given, _TEXT) or not given:
            raise invalid(argument, "a non-empty string", given)
        fields[argument] = given
    if hostname is not None:
        fields["hostname"] = _text("hostname", hostname)
    if machine_id is not None:
        fields["machine_id"] = _text("machine_id", machine_id)
    return fields


def dropped(count):
    """Return the fields of the event that reports lost records to the server.

    :param count: how many were lost (int).
    """
    return event("datacat_records_dropped", {"count": count}, category="warning")


def crash(reason):
    """Return the fields of the request that reports a crash to a v1 server.

    :param reason: a string.
    :raises InvalidArgument: if it is not one.
    """
    if not is_a(reason, _TEXT):
        raise invalid("reason", "a string", reason)
    return {"reason": reason}


def is_a(given, kinds):
    """Return whether an argument is of a type, or claims to be; a proxy may raise when asked."""
    try:
        return isinstance(given, kinds)
    except jsonable.RAISED_BY_VALUES as error:
        raise_if_exhausted(error)
        return False


def _dict(argument, wanted, given):
    if issubclass(type(given), dict):
        return given
    try:
        if isinstance(given, dict):
            # A proxy of one, such as a lazy object of Django.
            return dict(given.items())
    except jsonable.RAISED_BY_VALUES as error:
        raise_if_exhausted(error)
    raise invalid(argument, wanted, given)


def _bare(argument, given):
    """Return a text of any class, or what claims to be one, as a text without odd methods."""
    if is_a(given, _TEXT):
        bare = reading.exact(given)
        return bare if type(bare) in _TEXTS else jsonable.text_of(six.text_type, given)
    raise invalid(argument, "a non-empty string", given)


def _text(argument, given):
    if not is_a(given, _TEXT):
        raise invalid(argument, "a string or None", given)
    return given


def _origin(source, stacktrace):
    fields = {} if source is None else _source(source)
    if stacktrace is not None:
        fields["stacktrace"] = _strings("stacktrace", stacktrace)
    return fields


def _source(given):
    if not is_a(given, (tuple, list)) or len(given) != len(_SOURCE):
        raise invalid("source", "a tuple of file, line and function, or None", given)
    return dict(
        (name, _extra(name, value)) for name, value in zip(_SOURCE, given) if value is not None
    )


def _pairs(given):
    """Return a dict's items as tags, "key:value"."""
    pairs = reading.snapshot(given)
    return sorted(u"%s:%s" % (text_or_str(key), text_or_str(value)) for key, value in pairs)


def text_or_str(value):
    """Return a string, or anything else as `str` has it, as text."""
    return jsonable.text_of(lambda it: it if is_a(it, _TEXT) else six.text_type(it), value)


def _strings(argument, given):
    try:
        if type(given) is list:
            strings = list(given)
        elif isinstance(given, _LISTS):
            strings = reading.elements(given)
        elif argument == "tags" and isinstance(given, dict):
            return _pairs(given)
        else:
            raise invalid(argument, "a list of strings or None", given)
        for string in strings:
            if not isinstance(string, _TEXT):
                raise invalid(argument, "strings only", string)
        return sorted(strings) if isinstance(given, _SETS) else strings
    except InvalidArgument:
        raise
    except jsonable.RAISED_BY_VALUES as error:
        # A proxy whose object is gone raises as soon as it is asked for its class.
        raise_if_exhausted(error)
        raise invalid(argument, "a list of strings or None", given)


def finite(argument, given):
    """Return an argument if it is a finite real number; Decimal and the like become floats.

    :raises InvalidArgument: if it is not one.
    """
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
    except jsonable.RAISED_BY_VALUES as error:
        raise_if_exhausted(error)
        finite = False
    if not finite:
        raise invalid(argument, "a finite number", given)
    return number


def whole(argument, given):
    """Return an argument as an int.

    :raises InvalidArgument: if it is not an integer, or has over 64 bits.
    """
    try:
        count = int(given) if isinstance(given, numbers.Integral) else None
    except jsonable.RAISED_BY_VALUES as error:
        raise_if_exhausted(error)
        count = None
    if count is None or abs(count) > _LARGEST_COUNT:
        raise invalid(argument, "an integer of at most 64 bits", given)
    return count


def invalid(argument, wanted, given):
    """Return the InvalidArgument that says what an argument must be, and what it is."""
    shown = jsonable.text_of(repr, given)
    shown = shown if len(shown) <= 80 else shown[:77] + u"..."
    words = u"%s must be %s, not %s (%s)" % (
        argument,
        wanted,
        shown,
        jsonable.name_of(type(given)),
    )
    kinds_of_another, keywords = _MEANT.get(argument, ((), None))
    if is_a(given, kinds_of_another):
        words += u"; was it meant for %s?" % keywords
    return InvalidArgument(words)
