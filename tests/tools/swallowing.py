"""A port on which packets vanish."""

from __future__ import absolute_import, division

import socket
import sys

import pytest

SWALLOWS = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux drops SYNs when a backlog is full"
)


class Swallowing(object):
    """A port on which SYNs get no answer: its backlog is full."""

    def __enter__(self):
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.address = self._listener.getsockname()
        self._fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self.address)
            self._fillers.append(filler)
        return self

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.address[1]

    def __exit__(self, *_):
        for each in self._fillers + [self._listener]:
            each.close()
