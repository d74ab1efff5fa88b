"""Requests read into named fields as Go reads JSON into a struct.

Belongs here: the types of fields, and values that do not fit them.  Does not: I/O, what the
fields mean.

Keys match in any case, null leaves a field as it was, and a wrong type does not keep the other
fields from being read.
"""

from datacat.collector import timestamps
from datacat.collector.go_json import WholeNumber


class WrongType(ValueError):
    """The value does not have its field's type."""


def fill(shape, value):
    """Read a value into named fields.

    :param value: what `go_json.read` returns.
    :param shape: {name: (reader, zero value)}; see the end of this module.
    :returns: (the fields, a dict with every name of `shape`; whether the value fits).
    """
    fields = {name: zero for name, (_, zero) in shape.items()}
    if value is None:
        return fields, True
    if not isinstance(value, dict):
        return fields, False
    fits = True
    for key, given in getattr(value, "pairs", value.items()):
        name = _field(shape, key)
        if name is None:
            continue
        try:
            fields[name] = shape[name][0](given, fields[name])
        except ValueError:
            fits = False
    return fields, fits


def _field(shape, key):
    if key in shape:
        return key
    # Go folds letters one by one: ß is not ss.
    folded = key.casefold()
    return folded if folded in shape and len(folded) == len(key) else None


def _text(value, before):
    if value is None:
        return before
    if not isinstance(value, str):
        raise WrongType("not a string")
    return value


def _number(value, before):
    if value is None:
        return before
    if not isinstance(value, float):
        raise WrongType("not a number")
    return value


def _integer(value, before):
    return before if value is None else _whole(value)


def _optional_integer(value, _before):
    return None if value is None else _whole(value)


def _whole(value):
    if not isinstance(value, WholeNumber) or len(value.literal) > 20:
        raise WrongType("not an integer")
    exact = int(value.literal)
    if not -(2**63) <= exact < 2**63:
        raise WrongType("not a 64-bit integer")
    return exact


def _texts(value, _before):
    if value is None:
        return None
    if not isinstance(value, list):
        raise WrongType("not a list")
    return [_text(item, "") for item in value]


def _mapping(value, before):
    if value is None:
        return None
    if not isinstance(value, dict):
        raise WrongType("not an object")
    return dict(before or {}, **value) if before else value


def _timestamp(value, _before):
    if value is None:
        return None
    if not isinstance(value, str):
        raise WrongType("not a timestamp")
    return timestamps.normalised(value)


TEXT = (_text, "")
NUMBER = (_number, 0.0)
INTEGER = (_integer, 0)
OPTIONAL_INTEGER = (_optional_integer, None)
TEXTS = (_texts, None)
MAPPING = (_mapping, None)
TIMESTAMP = (_timestamp, None)
