"""What classic servers have no field for, folded into what they keep: data, or tags.

Belongs here: which fields, and under which names.  Does not: requests, encoding.
"""

from __future__ import absolute_import, division

import json

import six

from ..records import kinds

_OF_EVENTS = (
    u"message",
    u"category",
    u"group",
    u"labels",
    u"source_file",
    u"source_line",
    u"source_function",
    u"stacktrace",
)
# An exception's data has its type, its message and, in the traceback, its place.
_OF_EXCEPTIONS = (u"group", u"labels")
_OF_METRICS = (u"type", u"unit", u"count", u"metadata")

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def folded(kind, fields):
    """Return a record's fields as a classic server keeps them all.

    An event's `message` becomes `_message` in its data, a metric's `type` a tag "type:timer".  The
    application's own key or tag of that name stays as it is.

    :param kind: of an event, exception, report or metric.
    :param fields: a dict; it is read, not changed, and returned if there is nothing to fold.
    """
    if kind == kinds.METRIC:
        return _fold(fields, _OF_METRICS, u"tags", _with_tags)
    names = _OF_EVENTS
    if kind == kinds.EXCEPTION:
        names = _OF_EXCEPTIONS + _unlike_every_exception(fields)
    return _fold(fields, names, u"data", _with_data)


def _unlike_every_exception(fields):
    """Return which of an exception's category and message the application chose."""
    told = [fields.get(name) for name in (u"exception_type", u"exception_msg")]
    usual = {u"category": u"error", u"message": u": ".join(text for text in told if text)}
    return tuple(name for name in sorted(usual) if fields.get(name, usual[name]) != usual[name])


def _fold(fields, names, into, add):
    found = [(name, fields[name]) for name in names if fields.get(name) not in (None, u"", [])]
    if not found:
        return fields
    kept = dict((name, value) for name, value in fields.items() if (name, value) not in found)
    kept[into] = add(fields.get(into), found)
    return kept


def _with_data(data, found):
    data = dict(data or {})
    for name, value in found:
        data.setdefault(u"_" + name, value)
    return data


def _with_tags(tags, found):
    tags = list(tags or [])
    for name, value in found:
        if not any(tag.startswith(name + u":") for tag in tags):
            word = value if isinstance(value, six.text_type) else six.text_type(_encode(value))
            tags.append(u"%s:%s" % (name, word))
    return tags
