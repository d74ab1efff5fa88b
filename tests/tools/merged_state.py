"""The invariants of states: what the accepted updates result in, and what the server has."""

from __future__ import absolute_import, division

import itertools

from tools.report import RAISED, RETURNED, check_order, comparable

MANY = 6  # updates that a kill interrupted; of more, not all combinations are tried


def merge(state, update, null_deletes):
    """Return `state` with `update` merged in, key by key; a null deletes its key on v1 only."""
    merged = dict(state)
    for key, value in update.items():
        if value is None and null_deletes:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value, null_deletes)
        else:
            merged[key] = value
    return merged


# What a session is opened with: v1 puts it into the state, and so does the client on classic.
OPENING = ("product", "version", "hostname")


def check_states(sessions, report):
    """Report states that are lost, there twice, out of order, or not what the updates result in.

    v1 shows each update in its history.  A classic server shows only the result: if it is right,
    all of a session's updates have arrived.
    """
    left = _left(sessions)
    for session in sessions:
        if "state_history" in session:
            _History(session, report, left).check()
    _check_classic([each for each in sessions if "state_history" not in each], report)
    for mark, call in report.calls.items():
        if call.kind == "state" and call.outcome == RETURNED and mark not in report.arrived:
            report.add("lost", "%r", call)


def _left(sessions):
    """Return {id of a session: the one that was left for it}."""
    return dict(
        (event["data"]["next_session_id"], session)
        for session in sessions
        for event in session.get("events") or ()
        if event["name"] == "session_rotated"
    )


class _History(object):
    """The history of one v1 session, checked from the first state to the last.

    left: {id of a session: the one that was left for it}.
    """

    def __init__(self, session, report, left):
        self._left = left.get(session["id"])
        self._session = session
        self._report = report
        self._entries = [
            (each["timestamp"], comparable(each["state"] or {}))
            for each in session["state_history"] or ()
        ]
        shown = set(state.get("mark") for _, state in self._entries)
        earlier = self._left
        while earlier is not None:
            shown.update(each["state"].get("mark") for each in earlier["state_history"] or ())
            earlier = left.get(earlier["id"])
        self._not_shown = [
            call
            for mark, call in report.calls.items()
            if call.kind == "state" and mark not in shown
        ]
        self._arrivals = []
        self._times = {}

    def check(self):
        before = self._opening()
        for place, (time, state) in enumerate(self._entries):
            mark = state.get("mark")
            if place == 0 and self._left and state == comparable(self._left["state"]):
                self._times[mark] = time
            elif mark is not None and mark in self._times:
                self._check_repeated(mark, time, state, before)
            elif mark is not None:
                self._check_first(mark, time, state, before)
            before = state
        check_order(self._arrivals, self._report)
        there = comparable(self._session["state"] or {})
        if self._entries and there != before:
            self._report.add(
                "different",
                "%s has the state %.500r though its history ends with " "%.500r",
                self._session["id"],
                there,
                before,
            )

    def _opening(self):
        """Return the state with which the session was opened, which the history does not show."""
        _, first = self._entries[0] if self._entries else (None, {})
        return dict((key, first[key]) for key in OPENING if key in first)

    def _check_repeated(self, mark, time, state, before):
        if time == self._times[mark]:
            self._report.arrived[mark].append(self._session["id"])
            self._report.add("twice", "%r in %s", self._report.calls[mark], self._session["id"])
        elif state != before:
            self._report.add(
                "not_sent",
                "a state without a mark at %s in %s: %.300r",
                time,
                self._session["id"],
                state,
            )

    def _check_first(self, mark, time, state, before):
        call = self._report.calls.get(mark)
        if call is None or call.outcome == RAISED or call.kind != "state":
            self._report.add("not_sent", "the state %s in %s", mark, self._session["id"])
            return
        self._times[mark] = time
        if mark in self._report.arrived:
            self._report.add("twice", "%r in %s", call, self._session["id"])
        self._report.arrived.setdefault(mark, []).append(self._session["id"])
        self._arrivals.append(call)
        self._check_outcome(call, state, before)

    def _check_outcome(self, call, state, before):
        skipped = [
            each
            for each in self._not_shown
            if each.session == call.session
            and each.outcome == RETURNED
            and each.ended < call.began
        ]
        if skipped and _fold(before, skipped + [call], True) == state:
            for each in skipped:
                self._not_shown.remove(each)
                self._report.arrived.setdefault(each.mark, []).append(self._session["id"])
                self._report.add("merged", "%r into %r", each, call)
        elif _fold(before, [call], True) != state:
            self._report.add("different", "%r made %.500r of %.500r", call, state, before)


def _check_classic(sessions, report):
    calls_of = {}
    for call in report.calls.values():
        if call.kind == "state" and call.outcome != RAISED:
            calls_of.setdefault(call.session, []).append(call)
    homes = _classic_homes(sessions, report)
    for label, calls in sorted(calls_of.items()):
        there = homes.get(label)
        if not there:
            continue
        outcomes = _possible_outcomes(calls)
        if not any(state in outcomes for _, state in there):
            report.add(
                "different",
                "the updates of %s make %.500r, and there is %.500r",
                label,
                outcomes[0],
                there,
            )
        for call in calls:
            if call.outcome == RETURNED:
                report.arrived.setdefault(call.mark, []).append(there[-1][0])


def _classic_homes(sessions, report):
    """Return {label: [(id, state) of each session that has something of it]}."""
    label_of = dict(
        (each, report.calls[mark].session) for mark, ids in report.arrived.items() for each in ids
    )
    homes = {}
    for session in sessions:
        state = comparable(session["state"] or {})
        for name in OPENING:
            state.pop(name, None)
        call = report.calls.get(state.get("mark"))
        label = call.session if call is not None else label_of.get(session["id"])
        if state and (call is None or call.outcome == RAISED or call.kind != "state"):
            report.add("not_sent", "the state %.300r in %s", state, session["id"])
        elif label is not None:
            homes.setdefault(label, []).append((session["id"], state))
    return homes


def _possible_outcomes(calls):
    """Return the possible results: an update that a kill interrupted may have arrived or not."""
    unfinished = [call for call in calls if call.outcome != RETURNED]
    counts = range(len(unfinished) + 1)
    if len(unfinished) > MANY:
        counts = (0, len(unfinished))
    outcomes = []
    for count in counts:
        for absent in itertools.combinations(unfinished, count):
            outcomes.append(_fold({}, [call for call in calls if call not in absent], False))
    return outcomes


def _fold(state, calls, null_deletes):
    for call in calls:
        state = merge(state, comparable(call.fields), null_deletes)
    return state
