"""Did this record arrive?  Inferred from the server's answer to the GET of its session.

Belongs here: comparing a record with what the server stored, and what a server makes of a state
update.  Does not: I/O, waiting, counting attempts.
"""

from __future__ import absolute_import, division

import json
import re

import six

from ..records import kinds
from . import dialects

ARRIVED = "arrived"
ABSENT = "absent"
UNKNOWABLE = "unknowable"

# A server may put this many spaces between a key and its value, or between two fields.
_MOST_SPACES = 16
_LEAD_LENGTH = len('[{"timestamp":') + 4 * _MOST_SPACES
# JSON spends at most six bytes on a character, or twice six on a surrogate pair.
_BYTES_PER_CHARACTER = 12

_decode = json.JSONDecoder().raw_decode

# The start of an object in a list: never part of an application's own state or data.
_lead = re.compile(br'[\[,]\s{0,16}\{\s{0,16}"timestamp"\s{0,16}:\s{0,16}\Z')
_name_follows = re.compile(br'\s{0,16},\s{0,16}"name"\s{0,16}:\s{0,16}("[^"\\]*(?:\\.[^"\\]*)*")')
# In the fields before the session's state; within a text, quotes would be escaped.
_crashed = re.compile(br'[,{]\s{0,16}"crashed"\s{0,16}:\s{0,16}(true|false)')
_CRASHED_WITHIN = 4096
# What both sides have of an event or a metric, in its entirety.
_CONTENT = ("data", "value", "tags")
_LONGEST_EXTRAS = 4096
_LONGEST_STATE = 1024 * 1024
_state_follows = re.compile(br'\s{0,16},\s{0,16}"state"\s{0,16}:\s{0,16}\{')


class V1CrashFinder(object):
    """Finds out whether a v1 server has marked a session as crashed, in its answer to the GET."""

    def __init__(self):
        self._beginning = b""
        self._found = None

    def feed(self, piece):
        """Take the next piece of the answer (bytes); return True when no more is needed."""
        self._beginning += piece
        self._found = _crashed.search(self._beginning[:_CRASHED_WITHIN])
        return self._found is not None or len(self._beginning) > _CRASHED_WITHIN

    def result(self):
        """Return ARRIVED, ABSENT or UNKNOWABLE; to be called after the whole answer."""
        if self._found is None:
            return UNKNOWABLE
        return ARRIVED if self._found.group(1) == b"true" else ABSENT


def v1_finder(record):
    """Return what finds a record in a v1 server's answer."""
    return V1CrashFinder() if record.kind == kinds.CRASH else V1Finder(record)


class V1Finder(object):
    """Finds one record in a v1 server's answer to the GET of a session, piece by piece.

    A record is identified by its capture time, which the server returns exactly with all nine
    digits, and its name.  If another process has written one with both, the content tells them
    apart.  Needs memory for one piece and the record as the server has it.

    :param record: an event, exception, metric or state; the server keeps no time of any other
        kind, so its result is UNKNOWABLE.
    :ivar tail: the end of what was read, in which the record may begin (bytes).
    """

    def __init__(self, record):
        self._stamp = b'"' + dialects.stamp_of(record) + b'"'
        self._name = None
        self._follows = None
        self._enough = len(b',"state":{') + 4 * _MOST_SPACES
        self._is_state = record.kind == kinds.STATE
        if self._is_state:
            self._follows = _state_follows
            self._sent = _fields(record)
            self._longest = _LONGEST_STATE
        elif record.kind in kinds.TIMED:
            self._follows = _name_follows
            self._sent = _fields(record)
            self._name = self._sent.get("name")
            if not isinstance(self._name, six.text_type) or not self._name:
                self._follows = None  # the server refuses it
                self._name = u""
            self._enough += _BYTES_PER_CHARACTER * len(self._name)
            self._longest = _LONGEST_EXTRAS + _BYTES_PER_CHARACTER * len(record.body)
        self._has_name = self._found = False
        self.tail = b""

    def feed(self, piece):
        """Take the next piece of the answer (bytes); return True when no more is needed."""
        if self._found or self._follows is None:
            return True
        text = self.tail + piece
        start = 0
        while True:
            at = text.find(self._stamp, start)
            if at < 0:
                start = max(start, len(text) - _LEAD_LENGTH - len(self._stamp))
                break
            start = at
            is_record = self._is_record(text, at)
            if is_record is None:
                start = max(0, at - _LEAD_LENGTH)
                break
            if is_record:
                self._found = True
                break
            start = at + 1
        self.tail = text[start:]
        return self._found

    def result(self):
        """Return ARRIVED, ABSENT or UNKNOWABLE; to be called after the whole answer.

        UNKNOWABLE: there is a record of that time and name, but with other content.
        """
        if self._found:
            return ARRIVED
        return UNKNOWABLE if self._follows is None or self._has_name else ABSENT

    def _is_record(self, text, at):
        """Return whether the time at this position is the record's; None if more must be read."""
        before = max(0, at - _LEAD_LENGTH)
        lead = _lead.search(text[before:at])
        if not lead:
            return False
        after = text[at + len(self._stamp) : at + len(self._stamp) + self._enough]
        follows = self._follows.match(after)
        if follows is None:
            return False if len(after) >= self._enough else None
        if self._name is not None and _string(follows.group(1)) != self._name:
            return False
        self._has_name = True
        return self._has_content(text[text.index(b"{", before + lead.start()) :])

    def _has_content(self, text):
        """Return whether the object that a text begins with has the record's content, or None."""
        there = _object(text[: self._longest])
        if there is None and len(text) < self._longest:
            return None
        if self._is_state:
            # A history has whole states, which may be too large to be compared.
            return there is None or _contains(there.get("state"), self._sent)
        return there is not None and all(
            _same(there.get(name) or [], self._sent.get(name) or [])
            for name in _CONTENT
            if there.get(name) or self._sent.get(name)
        )


def classic_arrived(record, answer, delivered, merged):
    """Return whether a record arrived, from a classic server's answer to the GET of its session.

    Such a server keeps neither a record's time nor its identity, so order and content must do.
    That is reliable only if nobody else writes into the session.

    :param record: an event, exception, metric or state.
    :param answer: the session's fields (a dict).
    :param delivered: has `events` and `metrics`, how many of each are known to have arrived.
    :param merged: the state as known to have arrived (a dict), or None if unknown.
    :returns: ARRIVED, ABSENT or UNKNOWABLE.
    """
    if record.kind == kinds.CRASH:
        # These servers are told of a crash by an end.
        return ARRIVED if answer.get("ended_at") else ABSENT
    if record.kind == kinds.STATE:
        return _state_arrived(_fields(record), answer.get("state"), merged)
    if record.kind == kinds.METRIC:
        return _listed(record, answer.get("metrics"), delivered.metrics, _metric_content)
    if record.kind in kinds.LISTED_AS_EVENTS:
        return _listed(record, answer.get("events"), delivered.events, _event_content)
    return UNKNOWABLE


def merge_state(state, update, null_deletes):
    """Return what a server makes of a state and an update; neither is changed.

    Dicts are merged key by key, recursively; everything else replaces.  A dict that replaces
    something else is stored unchanged, including its nulls.

    :param null_deletes: whether a null removes its key (v1) or is stored (classic).
    """
    merged = dict(state)
    for key, value in update.items():
        if value is None and null_deletes:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge_state(merged[key], value, null_deletes)
        else:
            merged[key] = value
    return merged


def _fields(record):
    return json.loads(record.body.decode("ascii"))


def _string(token):
    """Return the text of a JSON string as written in an answer, or None if it is invalid."""
    try:
        return json.loads(token.decode("utf-8"))
    except ValueError:
        return None


def _object(text):
    """Return the JSON object that a text (bytes) begins with, None if it is not whole."""
    try:
        found = _decode(text.decode("utf-8", "ignore"))[0]
    except (ValueError, RuntimeError):  # a RecursionError is one
        return None
    return found if isinstance(found, dict) else None


def _contains(state, update):
    """Return whether a v1 server's state is one right after an update."""
    if not isinstance(state, dict):
        return False
    for key, value in update.items():
        if value is None:
            # It deletes, or stays in a dict that has replaced something else.
            if state.get(key) is not None:
                return False
        elif isinstance(value, dict):
            if not _contains(state.get(key), value):
                return False
        elif key not in state or not _same(state[key], value):
            return False
    return True


def _state_arrived(update, stored, merged):
    if merged is None or not isinstance(stored, dict):
        return UNKNOWABLE
    if _same(stored, merge_state(merged, update, null_deletes=False)):
        return ARRIVED
    return ABSENT if _same(stored, merged) else UNKNOWABLE


def _listed(record, stored, delivered, content):
    if not isinstance(stored, list) or len(stored) < delivered:
        return UNKNOWABLE
    if len(stored) == delivered:
        return ABSENT
    found = stored[delivered]
    if not isinstance(found, dict):
        return UNKNOWABLE
    is_ours = any(_same(content(found), content(form)) for form in dialects.CLASSIC.forms(record))
    return ARRIVED if is_ours else UNKNOWABLE


def _event_content(fields):
    return [fields.get("name"), fields.get("data") or {}]


def _metric_content(fields):
    return [fields.get("name"), fields.get("value"), fields.get("tags") or []]


def _same(one, other):
    """Return whether two parsed JSON values are equal, with numbers compared as float64."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and len(one) == len(other)
            and all(key in other and _same(one[key], other[key]) for key in one)
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_same, one, other))
    if _is_number(one) and _is_number(other):
        return _as_float(one) == _as_float(other)
    return one == other


def _is_number(value):
    return isinstance(value, (float,) + six.integer_types)


def _as_float(number):
    try:
        return float(number)
    except OverflowError:
        return number
