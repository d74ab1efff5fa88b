"""Logs a mix of events, metrics, states and a few exceptions to one or more sessions.

usage: mixed_records.py ACCEPTED URL WRITER RECORDS [SESSIONS [SECONDS_BETWEEN]]
"""

from __future__ import absolute_import, division

import random
import sys
import time

import datacat
from tools.recorder import EVERY_EXCEPTION, Recorder

EXTRAS = [{}, {"category": "warning", "labels": ["a", u"\u00e4"]}, {"message": "m", "group": "g"}]


def log_one(recorder, number, chance):
    kind = chance.random()
    if kind < 0.6:
        data = {"number": number, "text": u"\u00e4\u20ac \U0001f600", "part": number / 3}
        recorder.log_event("step", data, **chance.choice(EXTRAS))
    elif kind < 0.8:
        metadata = {"number": number, u"\u00e4": u"\U0001f600", "part": number / 3}
        extras = chance.choice([{}, {"type": "timer", "unit": "s"}, {"metadata": metadata}])
        recorder.log_metric("load", number / 7, tags=["app:mixed"], **extras)
    elif kind < 0.97:
        recorder.update_state({"step": number, "parts": {"p%d" % (number % 5): number}})
    else:
        recorder.log_exception(ValueError("number %d" % number), {"number": number})


def main(accepted, url, writer, records, sessions="1", seconds_between="0"):
    opened = [
        datacat.create_session(url, product="mixed", version="1", max_per_minute=EVERY_EXCEPTION)
        for _ in range(int(sessions))
    ]
    recorders = [
        Recorder(session, accepted, "%s-%d" % (writer, index))
        for index, session in enumerate(opened)
    ]
    chance = random.Random(writer)
    for number in range(int(records)):
        log_one(chance.choice(recorders), number, chance)
        time.sleep(float(seconds_between))
    for session in opened:
        session.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
