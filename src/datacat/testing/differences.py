"""How what was logged differs from what a test wants, for humans.

Belongs here: pure functions of wanted and logged data.  Does not: sessions.
"""

from __future__ import absolute_import, division

import difflib
import json

import six

from datacat.recorded import as_recorded

_MOST_LISTED = 20
_LONGEST_LISTED = 100


def keys_that_differ(wanted, logged):
    """Return the keys of wanted data that logged data lacks, or has with another value.

    :param wanted: a dict of any values.
    :param logged: a dict as recorded; it may have more keys.
    """
    recorded = as_recorded(wanted)
    return [
        key
        for key in sorted(wanted)
        if key not in logged or not (recorded[key] == logged[key] or _eq(wanted[key], logged[key]))
    ]


def _eq(wanted, logged):
    try:
        return bool(wanted == logged)
    except Exception:
        # Such as a numpy array: whether all are equal is what the recorded values told.
        return False


def explained(name, wanted, logged):
    """Return why no event is the wanted one (str).

    :param name: the wanted name.
    :param wanted: the wanted data, a dict.
    :param logged: the fields of all events, dicts.
    """
    namesakes = [fields for fields in logged if fields["name"] == name]
    text = _of_data(name, wanted, namesakes) if namesakes else _of_names(name, logged)
    return six.ensure_str(text)


def _of_names(name, logged):
    if not logged:
        return u'no event "%s" was logged, nor any other' % _text(name)
    names = sorted(set(fields["name"] for fields in logged))
    alike = difflib.get_close_matches(_text(name), names, 1)
    meant = u' (did you mean "%s"?)' % alike[0] if alike else u""
    lines = [u'no event "%s" was logged%s; these were:' % (_text(name), meant)]
    lines += [u"  %s %s" % (fields["name"], _cut(fields)) for fields in logged[:_MOST_LISTED]]
    if len(logged) > _MOST_LISTED:
        lines.append(u"  ... and %d more" % (len(logged) - _MOST_LISTED))
    return u"\n".join(lines)


def _of_data(name, wanted, namesakes):
    closest = min(namesakes, key=lambda fields: len(keys_that_differ(wanted, fields["data"])))
    count = u"the only one" if len(namesakes) == 1 else u"the closest of %d" % len(namesakes)
    return u'no event "%s" was logged with this data; %s (- wanted, + logged):\n%s' % (
        _text(name),
        count,
        u"\n".join(_diff(wanted, closest["data"])),
    )


def _diff(wanted, logged):
    """Return the lines of a diff of the wanted keys, whatever else was logged."""
    differ = keys_that_differ(wanted, logged)
    shown = as_recorded(dict((key, wanted[key]) for key in differ))
    # What fits is shown as it was logged: the wanted value may be a matcher.
    shown.update((key, logged[key]) for key in wanted if key not in differ)
    had = dict((key, logged[key]) for key in wanted if key in logged)
    lines = difflib.ndiff(_lines(shown), _lines(had))
    return [u"  " + line for line in lines if not line.startswith(u"?")]


def _lines(data):
    return _json(data, indent=2, separators=(",", ": ")).splitlines()


def _cut(fields):
    text = _json(fields["data"])
    return text if len(text) <= _LONGEST_LISTED else text[: _LONGEST_LISTED - 3] + u"..."


def _json(value, **options):
    # Python 2 prints an assertion's text safely only in ASCII.
    return six.ensure_text(json.dumps(value, sort_keys=True, ensure_ascii=six.PY2, **options))


def _text(name):
    return six.ensure_text(name) if isinstance(name, six.string_types) else u"%r" % (name,)
