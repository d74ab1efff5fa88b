"""Values that JSON lacks or that misbehave, for code that must accept any value."""

from __future__ import absolute_import, division

import datetime


class Silent(object):
    def __repr__(self):
        raise RuntimeError("no repr")


class Shown(object):
    def __repr__(self):
        return "<shown>"


class OddInteger(int):
    def __str__(self):
        return "odd"

    __repr__ = __str__


class OddFloat(float):
    def __repr__(self):
        return "odd"

    __str__ = __repr__


class Path(object):
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


class NumpyScalar(object):
    dtype = "int64"

    def __init__(self, value):
        self.value = value

    def tolist(self):
        return self.value

    item = tolist


class Longdouble(object):
    dtype = "float128"

    def tolist(self):
        return self

    item = tolist

    def __repr__(self):
        return "longdouble(1.5)"


class FixedZone(datetime.tzinfo):
    def utcoffset(self, when):
        return datetime.timedelta(hours=5, minutes=30)

    def dst(self, when):
        return None


class Flaky(dict):
    """A dict whose own `items` fails `failures` times."""

    def __init__(self, failures, *arguments):
        dict.__init__(self, *arguments)
        self.failures = failures

    def items(self):
        self.failures -= 1
        if self.failures >= 0:
            raise RuntimeError("dictionary changed size during iteration")
        return dict.items(self)

    iteritems = items


def nested(levels, innermost):
    for _ in range(levels):
        innermost = [innermost]
    return innermost


class _Nameless(type):
    @property
    def __name__(cls):
        raise RuntimeError("no name")


class _Numbered(type):
    __name__ = 3


# Of classes that do not tell their name.
METACLASSES_WITHOUT_A_NAME = [_Nameless, _Numbered]
