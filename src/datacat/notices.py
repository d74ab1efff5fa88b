"""The library's log messages: its logger, and warnings that are not repeated.

Belongs here: the logger, which warnings were given, and silencing urllib3 in our threads.  Does
not: when to warn.
"""

from __future__ import absolute_import, division

import logging
import threading

LOGGER = logging.getLogger("datacat")

_URLLIB3_LOGGERS = tuple(
    "urllib3." + name
    for name in ("connection", "connectionpool", "poolmanager", "response", "util.retry")
)
_here = threading.local()


def be_quiet_here():
    """Silence urllib3's loggers in this thread, which is one of the library's own.

    An application may send its log to datacat. Each request would then log a record, which needs
    another request, and so on.
    """
    _here.is_quiet = True
    for name in _URLLIB3_LOGGERS:
        logging.getLogger(name).addFilter(_not_ours)


class _NotOurs(logging.Filter):
    """Drops what is logged in the library's own threads."""

    def filter(self, record):
        return not getattr(_here, "is_quiet", False)


_not_ours = _NotOurs()


class Notices(object):
    """Logs a warning once per topic until the topic is cleared; thread-safe."""

    def __init__(self):
        self._given = set()

    def __call__(self, topic, message):
        if topic not in self._given:
            self._given.add(topic)
            LOGGER.warning("%s", message)

    def clear(self, topic):
        """Log the next warning about the topic again."""
        self._given.discard(topic)
