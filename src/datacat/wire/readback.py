"""Did these records arrive?  Inferred from a server's answer to the GET of their session.

Belongs here: comparing records with what a classic server stored, what a server makes of a state
update, and what both generations share.  Does not: a v1 server's answer (`readback_v1`), I/O,
waiting, counting attempts.
"""

from __future__ import absolute_import, division

import collections
import json

import six

from ..records import kinds
from . import dialects

ARRIVED = "arrived"
ABSENT = "absent"
UNKNOWABLE = "unknowable"
TOO_LARGE = "too large"

# What is known of records that were sent one after the other.
# arrived: how many of the first ones arrived;
# after: what is known of the next one, ABSENT or UNKNOWABLE, or TOO_LARGE if the session is not
#     read; None if all arrived;
# strays: the places of later ones that arrived all the same, a list;
# in_order: whether the server has those that arrived in the order in which they were sent;
# version: when the session was last changed, as the server says it; None if it does not.
Found = collections.namedtuple("Found", "arrived after strays in_order version")
Found.__new__.__defaults__ = ([], True, None)

# How many events and metrics a server lists.
Listed = collections.namedtuple("Listed", "events metrics")
NOTHING_LISTED = Listed(0, 0)


def classic_found(records, answer, delivered, merged):
    """Return what was Found, from a classic server's answer to the GET of the records' session.

    Such a server keeps neither a record's time nor its identity, so order and content must do.
    That is reliable only if nobody else writes into the session.

    :param records: in the order in which they were sent; a crash only alone.
    :param answer: the session's fields (a dict).
    :param delivered: has `events` and `metrics`, how many of each are known to have arrived.
    :param merged: the state as known to have arrived (a dict), or None if unknown.
    """
    if records[0].kind == kinds.CRASH:
        # These servers are told of a crash by an end.
        return Found(1, None) if answer.get("ended_at") else Found(0, ABSENT)
    results = _listed(records, answer, delivered)
    # A state leaves no trace of its own: it arrived if a later record did.
    count = 0
    for place, result in enumerate(results):
        if result not in (ARRIVED, None):
            break
        count = place + 1 if result == ARRIVED else count
    if ARRIVED in results[count:]:
        return Found(count, UNKNOWABLE)
    return _with_states(records, results, count, answer.get("state"), merged)


def without_last(answer, delivered, ahead):
    """Return (a classic server's answer, what was delivered) without the last events and metrics.

    :param ahead: how many of each to leave out.
    """
    events, metrics = answer.get("events"), answer.get("metrics")
    if ahead.events and isinstance(events, list):
        answer = dict(answer, events=events[: -ahead.events])
    if ahead.metrics and isinstance(metrics, list):
        answer = dict(answer, metrics=metrics[: -ahead.metrics])
    left = Listed(delivered.events - ahead.events, delivered.metrics - ahead.metrics)
    return answer, left


def classic_order(records, answer, before):
    """Return whether a classic server lists delivered records in the order of their sending.

    :param records: that it lists; others may have been delivered in between.
    :param before: has `events` and `metrics`, how many of each were delivered before them.
    :returns: None if that cannot be told, because it does not list them all.
    """
    is_in_order = True
    for where, start in (("events", before.events), ("metrics", before.metrics)):
        stored = answer.get(where)
        stored = stored[start:] if isinstance(stored, list) else []
        reached = 0
        for record in records:
            if listed_under(record.kind) == where:
                places = [p for p in range(len(stored)) if _is_at(record, stored, p)]
                if not places:
                    return None
                later = [place for place in places if place >= reached]
                is_in_order = is_in_order and bool(later)
                reached = later[0] + 1 if later else reached
    return is_in_order


def _is_at(record, stored, place):
    return _listed_at(record, stored, place) == ARRIVED


def _with_states(records, results, count, stored, merged):
    """Return what was Found: `count` records, and the state updates right after them if applied.

    :param results: of each record, None for a state update.
    :param stored: the state that the server has.
    :param merged: the state as known to have arrived before the records, or None.
    """
    end = count
    while end < len(records) and results[end] is None:
        end += 1
    after = results[end] if end < len(results) else None
    if end == count:
        return Found(count, after)
    if merged is None or not isinstance(stored, dict):
        return Found(count, UNKNOWABLE)
    states = [_classic_state(records[:place], merged) for place in range(count, end + 1)]
    for place in range(end, count, -1):
        if same(stored, states[place - count]):
            return Found(place, after if place == end else ABSENT)
    return Found(count, ABSENT if same(stored, states[0]) else UNKNOWABLE)


def _classic_state(records, state):
    """Return a state after the updates among some records."""
    for record in records:
        if record.kind == kinds.STATE:
            state = merge_state(state, fields_of(record), null_deletes=False)
    return state


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


def fields_of(record):
    return json.loads(record.body.decode("ascii"))


def _listed(records, answer, delivered):
    """Return of each record whether a classic server lists it, None for a state update."""
    places = {"events": delivered.events, "metrics": delivered.metrics}
    results = []
    for record in records:
        if record.kind == kinds.STATE:
            results.append(None)
            continue
        if record.kind != kinds.METRIC and record.kind not in kinds.LISTED_AS_EVENTS:
            results.append(UNKNOWABLE)
            continue
        where = listed_under(record.kind)
        results.append(_listed_at(record, answer.get(where), places[where]))
        places[where] += results[-1] == ARRIVED
    return results


def listed_under(kind):
    """Return where a server's answer lists records of a kind."""
    return {kinds.METRIC: "metrics", kinds.STATE: "state_history"}.get(kind, "events")


def _listed_at(record, stored, place):
    if not isinstance(stored, list) or len(stored) < place:
        return UNKNOWABLE
    if len(stored) == place:
        return ABSENT
    found = stored[place]
    if not isinstance(found, dict):
        return UNKNOWABLE
    content = _metric_content if record.kind == kinds.METRIC else _event_content
    is_ours = any(same(content(found), content(form)) for form in dialects.CLASSIC.forms(record))
    return ARRIVED if is_ours else UNKNOWABLE


def _event_content(fields):
    return [fields.get("name"), fields.get("data") or {}]


def _metric_content(fields):
    return [fields.get("name"), fields.get("value"), fields.get("tags") or []]


def same(one, other):
    """Return whether two parsed JSON values are equal, with numbers compared as float64."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and len(one) == len(other)
            and all(key in other and same(one[key], other[key]) for key in one)
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
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
