"""What the watched loops of asyncio, Tk and Qt have in common.

Belongs here: heartbeats, exceptions, and the end of a watch.  Does not: how a loop gives
heartbeats, and where its exceptions are found.
"""

from __future__ import absolute_import, division

# Per timeout.
_HEARTBEATS = 10


class Watch(object):
    """A loop that is watched until `stop`, or until the end of a `with` block.

    :param session: a Session; it lives as long as the watch.
    :param timeout: seconds without a heartbeat that make a hang (number); None: no heartbeats.
    :param is_running: as for `Session.add_heartbeat_monitor`.
    :raises InvalidArgument: if `timeout` is not such a number.
    """

    # Tells this kind of loop from others in the data of events.
    name = None

    def __init__(self, session, timeout, is_running=None):
        self.is_stopped = False
        self._session = session
        self._monitor = self._pause = None
        if timeout is not None:
            self._monitor = session.add_heartbeat_monitor(
                self.name, timeout, is_running=is_running
            )
            # Seconds between two heartbeats.
            self._pause = timeout / _HEARTBEATS

    def stop(self):
        """Watch no longer, and restore what is still as `watch` left it; harmless if repeated."""
        if not self.is_stopped:
            self.is_stopped = True
            if self._monitor is not None:
                self._monitor.stop()
            self._restore()

    def _restore(self):
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _tell(self, kind, error, trace, **data):
        """Log an exception that nothing has handled, unless it ends the program on purpose."""
        if not self.is_stopped and not issubclass(kind, (SystemExit, KeyboardInterrupt)):
            data = dict(data, handled=False, mechanism=self.name)
            self._session.log_exception(data, (kind, error, trace))

    def _end_session(self, *_):
        """Record the end of the session without waiting: the process may be about to be ended."""
        if not self.is_stopped:
            self._session.end(timeout=0)
