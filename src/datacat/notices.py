"""Warnings for the user of an application, each given once.

Belongs here: the library's logger, remembering what was logged, and silencing urllib3.  Does not:
the reasons for a warning.
"""

from __future__ import absolute_import, division

import logging
import threading

LOGGER = logging.getLogger("datacat")

_TRANSPORTS_LOGGERS = tuple(
    "urllib3." + name
    for name in ("connection", "connectionpool", "poolmanager", "response", "util.retry")
)
_here = threading.local()


def be_quiet_here():
    """Keep urllib3 from logging in this thread, one of the library's own.

    A handler that logs to datacat would record each request, and so cause another one.
    """
    _here.is_quiet = True
    for name in _TRANSPORTS_LOGGERS:
        logging.getLogger(name).addFilter(_passes)


class _Passes(logging.Filter):
    """Drops what the library's own threads log."""

    def filter(self, record):
        return not getattr(_here, "is_quiet", False)


_passes = _Passes()


class Notices(object):
    """Logs one warning per topic until the topic is cleared; safe to use from any thread."""

    def __init__(self):
        self._said = set()

    def __call__(self, topic, message):
        if topic not in self._said:
            self._said.add(topic)
            LOGGER.warning("%s", message)

    def clear(self, topic):
        """Allow another warning on the topic."""
        self._said.discard(topic)
