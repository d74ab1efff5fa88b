"""The heartbeats that an application gives, and the monitors that miss them.

Belongs here: these calls of a `Session`.  Does not: what a hang is (see `process.watchdog`), and
the heartbeats that this library sends to a server (see `sending.heartbeats`).
"""

from __future__ import absolute_import, division

from . import errors
from ._compat import monotonic
from .upstream import HeartbeatMonitor


class Heartbeats(object):
    """The heartbeat calls of a `Session`, which sets `_membership`; thread-safe."""

    def start_heartbeat_monitor(self, timeout=60, check_interval=None):
        """Start a monitor, which logs an event when heartbeats stop and when they resume.

        :param timeout: seconds without a heartbeat that make a hang (number).
        :param check_interval: seconds between checks (number), by default 5, or `timeout` if that
            is less.
        :returns: a `HeartbeatMonitor`.
        :raises InvalidArgument: if one is not a positive finite number, or `check_interval` is
            more than `timeout`.
        """
        self._membership.watch(timeout, check_interval)
        return HeartbeatMonitor(self, timeout, check_interval)

    def heartbeat(self):
        """Report that the application is alive; does nothing after `end` or `close`.

        :raises MonitorNotStarted: before `start_heartbeat_monitor`, and after
            `stop_heartbeat_monitor`.
        """
        self._watchdog().beat(monotonic())

    def pause_heartbeat_monitoring(self):
        """Expect no heartbeats until `resume_heartbeat_monitoring`, such as during long work.

        :raises MonitorNotStarted: as `heartbeat` does.
        """
        self._watchdog().pause(monotonic())

    def resume_heartbeat_monitoring(self):
        """Expect heartbeats again.

        :raises MonitorNotStarted: as `heartbeat` does.
        """
        self._watchdog().resume(monotonic())

    @property
    def _is_watched(self):
        membership = self._membership
        return membership.is_watched and membership.watchdog is not None

    def _watchdog(self):
        watchdog = self._membership.running_watchdog()
        if watchdog is None:
            raise errors.MonitorNotStarted(
                "the heartbeat monitor of this session is not started: call "
                "start_heartbeat_monitor() first"
            )
        return watchdog

    def stop_heartbeat_monitor(self):
        """Stop the monitor; harmless if there is none."""
        self._membership.unwatch()

    def add_heartbeat_monitor(self, name, timeout=60, check_interval=None, is_running=None):
        """Watch one more thing that can hang, such as an event loop, by heartbeats of its own.

        They are expected from the first one on.  Hangs and recoveries are told like those that
        `start_heartbeat_monitor` finds, with `monitor`, the name, in their data.

        :param name: of what is watched (a non-empty string).
        :param timeout: seconds without a heartbeat that make a hang (number).
        :param check_interval: seconds between checks (number), by default a fifth of `timeout`.
        :param is_running: a function that returns whether to expect heartbeats now (bool); None:
            always.  A thread of this library calls it, and it must return at once.
        :returns: an object with `heartbeat()` and `stop()`, which any thread may call.
        :raises InvalidArgument: if an argument has another type, or `check_interval` is more than
            `timeout`.
        """
        from .process import monitors

        return monitors.add(self._membership, name, timeout, check_interval, is_running)
