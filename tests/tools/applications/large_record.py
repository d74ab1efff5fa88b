"""Logs a large record to its first session, and many small ones to the others meanwhile.

usage: large_record.py ACCEPTED URL WRITER SETTINGS; like trial_application.py.  The client gives
up on a record after seconds instead of minutes, but not before it is told that it is enough.
"""

from __future__ import absolute_import, division

import base64
import json
import random
import sys
import time

from datacat.wire import backoff, verdicts
from tools.applications import trial_application
from tools.applications.mixed_records import log_one
from tools.recorder import Recorder

# It does not become much smaller when it is compressed.
LARGE = 900000


def main(accepted, url, writer, text):
    settings = json.loads(text)
    backoff.LONGEST_BACKOFF = 0.2
    sessions = [
        trial_application.open_session(url, settings["options"])
        for _ in range(settings["sessions"])
    ]
    recorders = [
        Recorder(session, accepted, "%s-%d" % (writer, index))
        for index, session in enumerate(sessions)
    ]
    chance = random.Random(writer)
    noise = bytearray(chance.getrandbits(8) for _ in range(LARGE * 3 // 4))
    text = base64.b64encode(bytes(noise)).decode("ascii")
    recorders[0].log_event("poison", {"text": text})
    number = 0
    while number < settings["records"] or not trial_application.is_enough(settings["enough"]):
        log_one(recorders[1 + number % (len(recorders) - 1)], number, chance)
        time.sleep(settings["seconds_between"])
        number += 1
    verdicts.POISON_SECONDS = 1.0
    for recorder in recorders:
        log_one(recorder, number, chance)
    trial_application.finish(sessions, settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
