"""JSON as Go's encoding/json reads and writes it, like the real servers.

Belongs here: values to text and back.  Does not: what the fields mean.

Numbers are float64, keys are sorted, invalid text becomes U+FFFD, and `<`, `>` and `&` are
escaped.
"""

import codecs
import json
import math
import re
from decimal import Decimal
from json.encoder import encode_basestring

# Go allows 10,000 levels; Python's stack does not, and the client sends 64 at most.
DEEPEST = 300

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_BY_GO = re.compile("[<>&\u2028\u2029]")
_EXACT_WHOLE_NUMBERS = 2.0**53


class NotJson(ValueError):
    """The bytes are not what Go's decoder accepts."""


class WholeNumber(float):
    """A number written without fraction or exponent; `literal` is its text."""

    literal = ""


class RepeatedKeys(dict):
    """An object with repeated keys; `pairs` has all (key, value) pairs in order."""

    pairs = ()


def read(body, trailing=False):
    """Return the value that a JSON text holds.

    :param body: the text (bytes).
    :param trailing: whether to ignore what follows the first value.
    :raises NotJson: if Go's decoder would refuse it.
    """
    text = body.decode("utf-8", "datacat_each_byte")
    start = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as problem:
        raise NotJson(str(problem)) from None
    if not trailing and text[end:].strip(" \t\r\n"):
        raise NotJson(f"something follows the value at character {end}")
    if _SURROGATE_ESCAPE.search(text):
        value = _without_surrogates(value)
    return value


def write(value):
    """Return a value as JSON text, keys sorted; raises NotJson if it is nested too deeply."""
    parts = []
    _write(value, parts, 0)
    return "".join(parts)


def write_fields(fields):
    """Return (name, value) pairs as the JSON text of an object, in their order."""
    return "{" + ",".join(f'"{name}":{write(value)}' for name, value in fields) + "}"


def write_number(value):
    """Return a float64 as Go prints it: plain digits from 1e-6 up to 1e21, else an exponent."""
    size = abs(value)
    if size < _EXACT_WHOLE_NUMBERS and value.is_integer():
        sign = "-" if math.copysign(1.0, value) < 0 else ""
        return f"{sign}{int(size)}"
    shortest = float.__repr__(value)
    if size < 1e-6 or size >= 1e21:
        return shortest.replace("e-0", "e-")
    plain = format(Decimal(shortest), "f")
    return plain[:-2] if plain.endswith(".0") else plain


def write_string(text):
    """Return a string in quotes, with Go's escapes for HTML and JavaScript's line ends."""
    return _ESCAPED_BY_GO.sub(_escape, encode_basestring(text))


def _write(value, parts, depth):
    if depth > DEEPEST:
        raise NotJson(f"nested over {DEEPEST} levels")
    if isinstance(value, str):
        parts.append(write_string(value))
    elif value is None or value is True or value is False:
        parts.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, float):
        parts.append(write_number(value))
    elif isinstance(value, int):
        parts.append(str(value))
    elif isinstance(value, dict):
        separator = "{"
        for key in sorted(value):
            parts.append(f"{separator}{write_string(key)}:")
            _write(value[key], parts, depth + 1)
            separator = ","
        parts.append("}" if value else "{}")
    else:
        separator = "["
        for item in value:
            parts.append(separator)
            _write(item, parts, depth + 1)
            separator = ","
        parts.append("]" if value else "[]")


def _escape(match):
    return f"\\u{ord(match.group()):04x}"


def _number(text):
    value = float(text)
    if math.isinf(value):
        raise NotJson(f"{text[:40]} is outside the range of a float64")
    return value


def _whole_number(text):
    value = WholeNumber(_number(text))
    value.literal = text
    return value


def _no_such_constant(text):
    raise NotJson(f"{text} is not JSON")


def _object(pairs):
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    repeated = RepeatedKeys(fields)
    repeated.pairs = pairs
    return repeated


def _without_surrogates(value):
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        pairs = getattr(value, "pairs", value.items())
        return _object(
            [(_without_surrogates(key), _without_surrogates(item)) for key, item in pairs]
        )
    return value


def _each_byte(problem):
    """One U+FFFD for every byte that is not UTF-8, as Go does (Python replaces runs)."""
    return "\ufffd" * (problem.end - problem.start), problem.end


codecs.register_error("datacat_each_byte", _each_byte)
_DECODER = json.JSONDecoder(
    parse_float=_number,
    parse_int=_whole_number,
    parse_constant=_no_such_constant,
    object_pairs_hook=_object,
)
