"""Did these records arrive on a v1 server?  Found in its answer to the GET of their session.

Belongs here: finding records in an answer that is read piece by piece.  Does not: I/O, classic
servers (`readback`).
"""

from __future__ import absolute_import, division

import json
import re

import six

from ..records import kinds
from . import dialects
from .readback import ABSENT, ARRIVED, UNKNOWABLE, Found, fields_of, listed_under, same

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


class V1WindowFinder(object):
    """Finds records in a v1 server's answer to the GET of their session, piece by piece.

    :param records: in the order in which they were sent; a crash only alone.
    """

    def __init__(self, records):
        self._records = records
        self._finders = [
            V1CrashFinder() if record.kind == kinds.CRASH else V1Finder(record)
            for record in records
        ]
        self._missing = list(self._finders)

    def feed(self, piece):
        """Take the next piece of the answer (bytes); return True when no more is needed."""
        self._missing = [finder for finder in self._missing if not finder.feed(piece)]
        return not self._missing

    def result(self):
        """Return what was Found; to be called after the whole answer."""
        results = [finder.result() for finder in self._finders]
        count = 0
        while count < len(results) and results[count] == ARRIVED:
            count += 1
        strays = [place for place in range(count, len(results)) if results[place] == ARRIVED]
        after = results[count] if count < len(results) else None
        overtaken = after == ABSENT and bool(strays)
        return Found(count, after, strays, self._is_in_order(results) and not overtaken)

    def _is_in_order(self, results):
        latest = {}
        for record, finder, result in zip(self._records, self._finders, results):
            if result == ARRIVED and record.kind != kinds.CRASH:
                where = listed_under(record.kind)
                if finder.at < latest.get(where, 0):
                    return False
                latest[where] = finder.at
        return True


class V1Finder(object):
    """Finds one record in a v1 server's answer to the GET of a session, piece by piece.

    A record is identified by its capture time, which the server returns exactly with all nine
    digits, and its name.  If another process has written one with both, the content tells them
    apart.  Needs memory for one piece and the record as the server has it.

    :param record: an event, exception, metric or state; the server keeps no time of any other
        kind, so its result is UNKNOWABLE.
    :ivar tail: the end of what was read, in which the record may begin (bytes).
    :ivar at: at which byte of the answer it was found.
    """

    def __init__(self, record):
        self._stamp = b'"' + dialects.stamp_of(record) + b'"'
        self._name = None
        self._follows = None
        self._enough = len(b',"state":{') + 4 * _MOST_SPACES
        self._is_state = record.kind == kinds.STATE
        if self._is_state:
            self._follows = _state_follows
            self._sent = fields_of(record)
            self._longest = _LONGEST_STATE
        elif record.kind in kinds.TIMED:
            self._follows = _name_follows
            self._sent = fields_of(record)
            self._name = self._sent.get("name")
            if not isinstance(self._name, six.text_type) or not self._name:
                self._follows = None  # the server refuses it
                self._name = u""
            self._enough += _BYTES_PER_CHARACTER * len(self._name)
            self._longest = _LONGEST_EXTRAS + _BYTES_PER_CHARACTER * len(record.body)
        self._has_name = self._found = False
        self.tail = b""
        self.at = self._tail_at = 0

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
                self.at = self._tail_at + at
                break
            start = at + 1
        self._tail_at += start
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
            same(there.get(name) or [], self._sent.get(name) or [])
            for name in _CONTENT
            if there.get(name) or self._sent.get(name)
        )


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
        elif key not in state or not same(state[key], value):
            return False
    return True
