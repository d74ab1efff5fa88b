"""What a text, a path, a number or a time may be that the application passes.

Belongs here: checks that several options or calls share.  Does not: which option has which.
"""

from __future__ import absolute_import, division

import math
import numbers
import os

import six

from ._compat import encode_path
from .errors import InvalidArgument, InvalidSettings

_LONGEST_SHOWN = 100
# What sqlite and file systems count in.
_LARGEST_SIZE = 2**63 - 1


def shown(value):
    """Return a value for an error message, whatever it is; text."""
    try:
        return ("%r" % (value,))[:_LONGEST_SHOWN]
    except Exception:
        # Such as a number with more digits than Python writes.
        return "this %s" % type(value).__name__


def finite(value):
    """Return a number as a float; None if it is none, or none that a float can hold."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return None if math.isnan(number) or math.isinf(number) else number


def timeout(value):
    """Return the seconds that a call may take, a float.

    :raises InvalidArgument: unless it is a number, 0 or more; it may be infinite.
    """
    try:
        if isinstance(value, numbers.Real) and value >= 0:
            return float(value)
    except OverflowError:
        pass
    raise InvalidArgument("timeout must be a number of seconds, 0 or more, not %s" % shown(value))


def yes_or_no(name, value):
    """Return an argument that is True or False.

    :raises InvalidArgument: if it is something else.
    """
    if not isinstance(value, bool):
        raise InvalidArgument("%s must be True or False, not %s" % (name, shown(value)))
    return value


# Each of the following takes an option's name and value, and returns what to use for it, or raises
# InvalidSettings.


def text(name, value):
    if isinstance(value, six.binary_type) and six.PY2:
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidSettings("%s must be text; these bytes are not UTF-8" % name)
    if not isinstance(value, six.text_type):
        raise InvalidSettings("%s must be text, not %s" % (name, type(value).__name__))
    if not value.strip():
        raise InvalidSettings("%s must not be empty" % name)
    return value


def optional_text(name, value):
    return None if value is None else text(name, value)


def path(name, value):
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    if not isinstance(value, six.string_types) or not value:
        raise InvalidSettings("%s must be a path as text, not %s" % (name, shown(value)))
    if u"\0" in value:
        raise InvalidSettings(
            "%s contains a NUL character, which no path can: %s" % (name, shown(value))
        )
    try:
        encode_path(value)
    except UnicodeError:
        raise InvalidSettings(
            "%s has characters that file names cannot have on this system: %s; check the locale "
            "(LANG, LC_ALL)" % (name, shown(value))
        )
    try:
        # Now: the application may change its working directory.
        return os.path.abspath(value)
    except (EnvironmentError, UnicodeError) as error:
        raise InvalidSettings(
            "%s is the relative path %s, and the working directory cannot be told (%s); pass an "
            "absolute path" % (name, shown(value), error)
        )


def optional_path(name, value):
    return None if value is None else path(name, value)


def seconds(name, value):
    number = finite(value)
    if number is None or number <= 0:
        raise InvalidSettings(
            "%s must be a number of seconds over 0, not %s" % (name, shown(value))
        )
    return number


def seconds_or_zero(name, value):
    number = finite(value)
    if number is None or number < 0:
        raise InvalidSettings(
            "%s must be a number of seconds, 0 or more, not %s" % (name, shown(value))
        )
    return number


def size(name, value):
    is_whole = isinstance(value, six.integer_types) and not isinstance(value, bool)
    if not is_whole or not 0 < value <= _LARGEST_SIZE:
        raise InvalidSettings(
            "%s must be a whole number from 1 to 2**63 - 1, not %s" % (name, shown(value))
        )
    return value


def optional_size(name, value):
    return None if value is None else size(name, value)


def flag(name, value):
    if not isinstance(value, bool):
        raise InvalidSettings("%s must be True or False, not %s" % (name, shown(value)))
    return value


def optional_callable(name, value):
    if value is not None and not callable(value):
        raise InvalidSettings("%s must be a function, not %s" % (name, shown(value)))
    return value
