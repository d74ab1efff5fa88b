"""Noticing that more is logged than delivered, and saying why.

Belongs here: what counts as a backlog, and the words for it.  Does not: counting records.
"""

from __future__ import absolute_import, division

BACKLOG_SECONDS = 600.0
# Records that share an exchange, on average, if several go together.
_SEVERAL = 1.5
# Bytes a second; less is not for want of a better line.
_SLOWEST_LINE = 1000.0
# Records in a session that may be what makes a server slow.
_LARGE_SESSION = 1000


class Backlog(object):
    """Whether the number of waiting records has been growing for ten minutes.

    It is sampled every five minutes.  It counts as a backlog if it grew from sample to sample
    twice in a row, and records were waiting all the time.

    :ivar due: the monotonic time of the next sample.
    """

    def __init__(self):
        self.reset()

    def reset(self):
        """Start again, because nothing waits."""
        self.due = 0.0
        self._waiting = None
        self._growths = 0

    def grows(self, waiting, now):
        """Take a sample; return whether the backlog has been growing for ten minutes.

        :param waiting: how many records wait now.
        """
        self.due = now + BACKLOG_SECONDS / 2
        is_larger = self._waiting is not None and waiting > self._waiting
        self._growths = self._growths + 1 if is_larger else 0
        self._waiting = waiting
        return self._growths >= 2


def complaint(busy, settings, server):
    """Return what to say about a backlog.

    :param busy: the entries of sessions that have records waiting, one at least.
    :param settings: the pipeline's Settings.
    :param server: the Server.
    """
    waiting = sum(entry.waiting for entry in busy)
    largest = max(entry.events + entry.metrics for entry in busy)
    if server.link.online and server.pace.seconds is not None:
        why = cause(server.pace, largest, settings.window, settings.bandwidth)
    else:
        why = "the last error was: %s" % server.link.last_error
    return "for ten minutes more has been logged than delivered; %d records wait: %s" % (
        waiting,
        why,
    )


def cause(pace, largest, window, bandwidth=None):
    """Return why a server that answers does not get records faster, and what to do.

    :param pace: the Pace of recent requests.
    :param largest: how many records the largest session has had delivered.
    :param window: how many records of a session may be on the way at once, by the settings.
    :param bandwidth: bytes a second that may go out, by the settings; None: any number.
    """
    if bandwidth is not None and bandwidth < pace.rate:
        return "bandwidth=%d lets no more through: log less, or allow more" % bandwidth
    go_one_by_one = pace.together < _SEVERAL
    # Longer than the way there and back, and with fewer bytes than the line has carried.
    is_slower = pace.seconds > 2 * pace.quickest
    is_starved = pace.rate < max(pace.fastest / 2, _SLOWEST_LINE)
    if is_starved and (is_slower or not go_one_by_one):
        return _server_is_slow(pace.seconds, largest)
    if go_one_by_one and not is_slower:
        return "each request takes %s s, and %srecords go one by one: %s" % (
            _short(pace.seconds),
            "with window=1 " if window == 1 else "",
            "allow a larger window" if window == 1 else "log less",
        )
    return "the line carries %s kB/s: log less" % _short(pace.rate / 1000)


def _server_is_slow(seconds, largest):
    if largest < _LARGE_SESSION:
        return "the server takes %s s for each request: log less" % _short(seconds)
    # It stores a whole session at each write.
    return (
        "the server takes %s s for each request to a session with %s records: log less, or keep "
        "sessions smaller by rotate_after=" % (_short(seconds), format(largest, ","))
    )


def _short(number):
    return "%.0f" % number if number >= 10 else "%.2g" % number
