"""What is in a container or a text, whatever its class says.

Belongs here: reading the values of an application's subclasses, which may have methods of their
own under any name (`items` may be a key that is an attribute too).  Does not: what becomes of the
values.
"""

from __future__ import absolute_import, division

import collections

import six

from ..stack import raise_if_exhausted

# What a value's own methods may raise while it is read; sys.exit() is no wish to exit there.
# Out of memory or stack is no fault of the value (see `raise_if_exhausted`).
RAISED_BY_VALUES = (Exception, SystemExit)
UNREADABLE = u"<changed while it was read>"

_ATTEMPTS = 10
_SEQUENCES = (list, tuple, set, frozenset)
_TEXTS = (six.text_type, str)
_WHOLE = slice(None)


def snapshot(mapping):
    """Return the items of a dict as a list of pairs, even while other threads change it.

    :param mapping: a dict, whose own methods are not asked unless it is empty; or what claims to
        be one.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _items(mapping)
        except RAISED_BY_VALUES as error:
            raise_if_exhausted(error)
    return list(dict.items(mapping)) if _is_dict(mapping) else [(UNREADABLE, None)]


def elements(sequence):
    """Return the elements of a list, tuple or set, a list.

    :param sequence: one of these, whose own methods are not asked unless it is empty.
    """
    for kind in _SEQUENCES:
        if issubclass(type(sequence), kind):
            found = list(kind.__iter__(sequence))
            return found if found or type(sequence) is kind else _claimed(_iterated, sequence)
    return list(sequence)


def exact(text):
    """Return a text as one whose class has no methods of its own; anything else as it is."""
    for kind in _TEXTS:
        if issubclass(type(text), kind):
            return text if type(text) is kind else kind.__getitem__(text, _WHOLE)
    return text


def _is_dict(value):
    return issubclass(type(value), dict)


def _items(mapping):
    kind = type(mapping)
    if issubclass(kind, collections.OrderedDict):
        keys = list(collections.OrderedDict.__iter__(mapping))
        if len(keys) == dict.__len__(mapping):
            return [(key, dict.__getitem__(mapping, key)) for key in keys]
    if not issubclass(kind, dict):
        return _pairs(mapping)
    found = list(dict.items(mapping))
    return found if found or kind is dict else _claimed(_pairs, mapping)


def _iterated(sequence):
    # Not `list`, which asks for the length too.
    return [each for each in sequence]


def _pairs(mapping):
    return [(key, value) for key, value in mapping.items()]


def _claimed(read, container):
    """Return what an empty container says that it has: it may keep that elsewhere."""
    try:
        return read(container)
    except RAISED_BY_VALUES as error:
        raise_if_exhausted(error)
        return []
