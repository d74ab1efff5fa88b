"""Any Python value as JSON in ASCII, by the same rules on every Python.

Belongs here: the rules for converting and cutting values, and the limit on a record's size.  Does
not: what an event, a metric or a state is; raising for odd values.

Values of Python's own types go to the C encoder.  Only if there are others, if it refuses one, or
if its output looks suspicious, is everything converted value by value and then encoded.
"""

from __future__ import absolute_import, division

import datetime
import decimal
import json
import marshal
import re
import sys
import uuid

import six

from .. import _compat
from ..errors import InvalidArgument
from ..stack import raise_if_exhausted
from . import reading
from .reading import RAISED_BY_VALUES

MAX_BYTES = 1024 * 1024
UNLIMITED = sys.maxsize
DEEPEST = 64
TOO_DEEP = u"<deeper than %d levels>" % DEEPEST
CYCLE = u"<cycle>"
TOO_MANY_DIGITS = u"<integer of over 4300 digits>"

_SHORTEST_HUGE_INTEGER = 309
_FIRST_WITH_TOO_MANY_DIGITS = 10**4300
_FOREIGN_STEPS = 8
_CONTAINERS = (dict, list, tuple)
_PLAIN_TYPES = frozenset((type(None), bool, float, six.text_type, str) + six.integer_types)
_PLAIN_TEXTS = (six.text_type, str)

_eight_digits = re.compile(r"[0-9]{8}")
_huge_integer = re.compile(r"[0-9]{%d}" % _SHORTEST_HUGE_INTEGER)
_strings_and_scalars = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^\[\]{}"]+')
_escapes = re.compile(r"\\(?:[^u]|u[dD][89abAB]..\\u[dD][c-fC-F]..|u([dD][89a-fA-F]..)?)")
_utf8_pieces = re.compile(
    b"([\x00-\x7f]+|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]"
    b"|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    b"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})"
    b"|\xe0[\xa0-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]|\xed[\x80-\x9f]"
    b"|\xf0[\x90-\xbf][\x80-\xbf]?|[\xf1-\xf3][\x80-\xbf]{1,2}|\xf4[\x80-\x8f][\x80-\xbf]?"
    b"|.",
    re.DOTALL,
)


def encode(fields, limit=MAX_BYTES):
    """Return fields as JSON: bytes of ASCII, without spaces.

    Values that JSON lacks are converted: datetime, date and time to ISO 8601; timedelta to
    seconds; Decimal, UUID and paths to text; an Enum to its value; bytes to text, decoded as
    UTF-8; sets to sorted lists; numpy's values to Python's; exceptions to "Type: message"; NaN,
    infinities and integers beyond a float's range to text; anything else to its repr.  A marker
    replaces cycles and anything nested deeper than 64 levels; U+FFFD replaces lone surrogates.

    :param fields: a dict; it is read, not changed.
    :param limit: the maximum size in bytes (int), or UNLIMITED.
    :raises InvalidArgument: if the JSON is larger than `limit`.
    """
    try:
        _refuse_subclasses(fields)
        text = "".join(_c_encoder(fields, 0))
        if (
            len(text) >= _SHORTEST_HUGE_INTEGER or text.count("{") + text.count("[") > DEEPEST
        ) and _is_suspicious(text):
            text = _encoder.encode(plain(fields))
    except RAISED_BY_VALUES as error:
        # Otherwise open containers would look like cycles next time.
        _inside.clear()
        raise_if_exhausted(error)
        text = _encoder.encode(plain(fields))
    if "\\ud" in text:
        text = _escapes.sub(_without_lone_surrogate, text)
    if len(text) > limit:
        raise InvalidArgument(
            "the record%s has %d bytes, over the limit of %d: log less in one call"
            % (_named(fields), len(text), limit)
        )
    return text.encode("ascii")


def plain(value):
    """Return a copy of `value` made of JSON's types: dict with text keys, list, text, numbers.

    Keeps lone surrogates, which `encode` replaces in the encoded text.
    """
    return _plain(value, 0, set())


def key_of(value):
    """Return a key as the text that `plain` makes of it."""
    return _plain_key(value, 0, set())


def decode(data):
    """Decode bytes as UTF-8, each invalid piece as one U+FFFD.

    Pieces are as Unicode recommends (chapter 3.9, "U+FFFD Substitution of Maximal Subparts"),
    which Python 3 follows and Python 2 does not.
    """
    return u"".join(
        piece.decode("utf-8") if piece else u"\ufffd"
        for piece in _utf8_pieces.findall(bytes(bytearray(data)))
    )


def text_of(convert, value):
    """Return `convert(value)` as text, or a marker if it raises or returns no string."""
    try:
        converted = convert(value)
        return converted if isinstance(converted, six.text_type) else decode(converted)
    except RAISED_BY_VALUES as error:
        raise_if_exhausted(error)
        return _unprintable(value)


def _named(fields):
    name = reading.exact(dict.get(fields, "name"))
    return " (name %r)" % name[:80] if type(name) in _PLAIN_TEXTS else ""


def message_of(error):
    """Return an exception's message as text."""
    try:
        return six.text_type(error)
    except RAISED_BY_VALUES as fault:
        raise_if_exhausted(fault)
        return text_of(str, error)


def describe(error):
    """Return an exception in one line, "Type: message", like the last line of a traceback."""
    message = message_of(error)
    name = name_of(type(error))
    return u"%s: %s" % (name, message) if message else name


def name_of(kind):
    """Return a class's name as text; "object" if its metaclass does not give one."""
    try:
        name = kind.__name__
    except RAISED_BY_VALUES as fault:
        raise_if_exhausted(fault)
        name = None
    if not issubclass(type(name), six.string_types):
        return u"object"
    return name if isinstance(name, six.text_type) else decode(name)


def _is_suspicious(text):
    """Return whether a JSON text may be nested too deeply, or have integers beyond floats."""
    if _is_deeper(text, DEEPEST + 1):
        return True
    # Every 38th character: eight digits of any 309 in a row remain, and it is fast to search.
    return bool(_eight_digits.search(text[::38]) and _huge_integer.search(text))


def _is_deeper(text, levels):
    """Return whether a JSON text nests containers more than `levels` deep."""
    brackets = _strings_and_scalars.sub("", text).replace("{", "[").replace("}", "]")
    for _ in range(levels):
        if not brackets:
            return False
        brackets = brackets.replace("[]", "")
    return bool(brackets)


def _without_lone_surrogate(escape):
    return "\\ufffd" if escape.group(1) else escape.group()


def _plain(value, depth, above):
    for _ in range(_FOREIGN_STEPS):
        # Not `isinstance`: a proxy claims to be of another class, and has none of its methods.
        kind = type(value)
        if issubclass(kind, _CONTAINERS):
            return _plain_container(value, depth, above)
        if value is None or kind is bool:
            return value
        if issubclass(kind, six.text_type):
            return reading.exact(value)
        if issubclass(kind, six.integer_types):
            return _plain_integer(value)
        if issubclass(kind, float):
            return _plain_float(value)
        value = _foreign(value)
    return _unprintable(value)


def _unprintable(value):
    return u"<unprintable %s>" % name_of(type(value))


def _plain_container(value, depth, above):
    if id(value) in above:
        return CYCLE
    if depth > DEEPEST:
        return TOO_DEEP
    above.add(id(value))
    try:
        if issubclass(type(value), dict):
            return dict(
                (_plain_key(key, depth, above), _element(element, depth + 1, above))
                for key, element in reading.snapshot(value)
            )
        return [_element(element, depth + 1, above) for element in reading.elements(value)]
    finally:
        above.discard(id(value))


def _element(value, depth, above):
    """Return a value as `_plain` does, but never fail for its container."""
    try:
        return _plain(value, depth, above)
    except RAISED_BY_VALUES as error:
        raise_if_exhausted(error)
        return _unprintable(value)


def _plain_key(key, depth, above):
    key = _element(key, depth + 1, above)
    return key if isinstance(key, six.text_type) else decode(_encoder.encode(key).encode("ascii"))


def _plain_integer(value):
    for kind in six.integer_types:
        if isinstance(value, kind):
            value = kind.__int__(value)
    try:
        float(value)
        return value
    except OverflowError:
        pass
    if abs(value) >= _FIRST_WITH_TOO_MANY_DIGITS:
        return TOO_MANY_DIGITS
    try:
        return six.text_type(value)
    except ValueError:
        # The program may have lowered the limit (sys.set_int_max_str_digits).
        return TOO_MANY_DIGITS


def _plain_float(value):
    value = float.__float__(value)
    if value != value:
        return u"NaN"
    if value - value != 0:
        return u"Infinity" if value > 0 else u"-Infinity"
    return value


def _foreign(value):
    """Convert a value that JSON lacks one step towards JSON: to text, a number or a list."""
    kind = type(value)
    try:
        for kinds, convert in _CONVERSIONS:
            if issubclass(kind, kinds):
                return convert(value)
        if hasattr(kind, "__fspath__"):
            return value.__fspath__()
        if hasattr(kind, "dtype") and hasattr(kind, "tolist"):
            return _from_numpy(value)
        if value.__class__ is not kind:
            return _from_proxy(value)
    except RAISED_BY_VALUES as error:
        raise_if_exhausted(error)
        return _unprintable(value)
    return text_of(repr, value)


def _from_proxy(value):
    """Convert a value that claims to be of another class, such as a lazy object of Django."""
    claimed = value.__class__
    try:
        for kinds, convert in _CLAIMED + _CONVERSIONS:
            if issubclass(claimed, kinds):
                return convert(value)
    except RAISED_BY_VALUES as error:
        raise_if_exhausted(error)
        # A mock has the class, but not the methods.
        pass
    return text_of(repr, value)


def _from_set(value):
    return sorted((plain(element) for element in reading.elements(value)), key=_encoder.encode)


def _from_numpy(value):
    # A value without a Python type (a longdouble) is returned unchanged.
    converted = value.tolist()
    return text_of(repr, value) if type(converted) is type(value) else converted


# What a proxy may claim to be, of what JSON has.
_CLAIMED = (
    (dict, lambda value: dict(value.items())),
    ((list, tuple), list),
    (six.text_type, six.text_type),
    (bool, bool),
    (six.integer_types, int),
    (float, float),
)
# Enum comes first: its members may be instances of another type too.
_CONVERSIONS = (
    (_compat.Enum, lambda value: value.value),
    ((bytes, bytearray), decode),
    (memoryview, lambda value: decode(value.tobytes())),
    ((datetime.datetime, datetime.date, datetime.time), lambda value: value.isoformat()),
    (datetime.timedelta, datetime.timedelta.total_seconds),
    ((decimal.Decimal, uuid.UUID), six.text_type),
    ((set, frozenset), _from_set),
    (BaseException, describe),
)

_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_inside = {}


try:
    # `JSONEncoder.encode` makes one for every value, which takes a third of its time.
    _c_encoder = json.encoder.c_make_encoder(
        _inside,
        plain,
        json.encoder.encode_basestring_ascii,
        None,
        ":",
        ",",
        False,
        False,
        False,
    )
except (AttributeError, TypeError):
    # PyPy has none, and a future Python may change its arguments.
    def _c_encoder(value, _):
        return _encoder.encode(plain(value))


class _OddInteger(int):
    def __str__(self):
        return "odd"

    __repr__ = __str__


def _is_plain(value):
    """Return whether the encoder certainly writes `value` by our rules."""
    kind = type(value)
    if kind in _PLAIN_TYPES:
        return kind is not bytes or b"\xed" not in value
    elements = value
    if kind is dict:
        elements = list(value.values())
        for key in value:
            if type(key) not in _PLAIN_TEXTS or not _is_plain(key):
                return False
    elif kind not in (list, tuple):
        return False
    for element in elements:
        if not _is_plain(element):
            return False
    return True


def _refuse_unless_plain(value):
    if not _is_plain(value):
        raise ValueError


# The encoder asks a subclass of dict or list for its elements, which may tell something else.
# `marshal` is strict: it raises ValueError for any subclass, in a tenth of the encoder's time.
_refuse_subclasses = marshal.dumps
if "".join(_c_encoder(_OddInteger(1), 0)) != "1":
    # Python 2's encoder also writes a subclass of int with its __str__, which need not give a
    # number; capitalises keys that are bools; and decodes surrogates encoded as UTF-8 (bytes ED
    # A0..BF).
    _refuse_subclasses = _refuse_unless_plain
