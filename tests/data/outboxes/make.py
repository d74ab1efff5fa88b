"""Makes an outbox of the present schema, as a killed process leaves it: make.py PATH.

tests/outbox/test_schemas.py says what is in it. Each release with a new schema adds its file.
"""

from __future__ import absolute_import, division

import os
import shutil
import sys
import tempfile

from datacat.notices import Notices
from datacat.outbox.outbox import Outbox
from datacat.outbox.spool import Spool
from datacat.records import build, kinds
from datacat.scope import Scope

WRITTEN = 1764115200.0


def fill(outbox):
    outbox.note(process="4711", boot="a boot")
    one = outbox.add_session(u"local-released-1", b'{"product":"released","version":"1"}')
    outbox.append(one, kinds.OPEN, one.opening)
    outbox.opened(one, outbox.head(one), u"server-1")
    outbox.append(one, kinds.EVENT, build.encode(build.event("sent")))
    outbox.settle(one, outbox.head(one))
    outbox.append(one, kinds.STATE, b'{"a":{"b":1}}')
    outbox.settle(one, outbox.head(one), state=b'{"a":{"b":1}}')
    outbox.append(one, kinds.EVENT, build.encode(build.event("refused")))
    outbox.bury(one, outbox.head(one), 400, u"Invalid request body")
    outbox.append(one, kinds.EVENT, build.encode(build.event("waiting")))
    outbox.append(one, kinds.METRIC, build.encode(build.metric("load", 0.5)))
    outbox.append(one, kinds.STATE, b'{"c":2}')
    outbox.append(one, kinds.EXCEPTION, build.encode(build.event("exception", {"type": "E"})))
    two = outbox.add_session(u"local-released-2", b'{"product":"released","version":"1"}')
    outbox.append(two, kinds.OPEN, two.opening)
    outbox.append(two, kinds.EVENT, build.encode(build.event("never opened")))
    outbox.say_goodbye(two, "ended", kinds.END, b"{}")


def main(path):
    folder, warn = tempfile.mkdtemp(), Notices()
    try:
        store = Spool(folder, Scope("0" * 12, "0" * 12, ""), False, warn).create()
        outbox = Outbox(store, 2**30, warn, wall=lambda: WRITTEN)
        fill(outbox)
        store.checkpoint()
        shutil.copyfile(store.path, path)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
