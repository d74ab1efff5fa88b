"""What the user of an application should know, each thing said once.

What may live here: the library's logger, the memory of what was said, and what is not to be
logged.  What may not: the reasons for saying it.
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
    """Keep urllib3 from logging in this thread, which is the library's own.

    A handler that logs to datacat would make a record of each request for the record before.
    """
    _here.is_quiet = True
    for name in _TRANSPORTS_LOGGERS:
        logging.getLogger(name).addFilter(_passes)


class _Passes(logging.Filter):
    """Lets through what no thread of the library logs."""

    def filter(self, record):
        return not getattr(_here, "is_quiet", False)


_passes = _Passes()


class Notices(object):
    """Logs a warning once a topic, until the topic is cleared."""

    def __init__(self):
        self._said = set()

    def __call__(self, topic, message):
        if topic not in self._said:
            self._said.add(topic)
            LOGGER.warning("%s", message)

    def clear(self, topic):
        """Let the topic be told again."""
        self._said.discard(topic)
