"""The state machine of heartbeats: beats and readings of the clocks in, facts out.

Belongs here: detecting hangs and recoveries, and the stacks of all threads.  Does not: waiting,
threads, reading clocks, writing records.
"""

from __future__ import absolute_import, division

import collections
import os
import sys
import threading

import six

from .. import checks
from .._compat import get_ident
from ..errors import InvalidArgument

# Readings of the clocks, in seconds. now: monotonic, without the machine's sleep if the system has
# such a clock; cpu: the CPU time this process has used; boot: monotonic with sleep, or None.
Readings = collections.namedtuple("Readings", "now cpu boot")

Hang = collections.namedtuple("Hang", "seconds_since_heartbeat timeout thread_ident")
Recovered = collections.namedtuple("Recovered", "hung_seconds")

# How late a check may come, in seconds, before it suggests sleep: a busy machine delays a thread
# by tens of milliseconds, sleep and SIGSTOP by seconds.
LATE = 1.0

# The other reason for a late check is a thread that hogs the interpreter; it uses about one CPU.
BUSY_SHARE = 0.5


class Watchdog(object):
    """Reports the start and the end of each hang, once.

    Any thread may call beat(), pause() and resume() at any time; they take no lock, so they are
    safe in signal handlers and finalizers. check() is for one thread.

    A process that does not run (SIGSTOP, a machine asleep) does not hang. It is recognised by a
    check that comes over a second late although the process used little CPU time, or by the clock
    that counts sleep running ahead. The time since the previous check is then ignored. This has
    two limits: a stop shorter than `check_interval` + 1 s goes unnoticed and counts as silence,
    and a C extension that holds the GIL without using CPU looks like a stop.

    :param timeout: seconds without a heartbeat that make a hang.
    :param check_interval: seconds between checks.
    :param now: monotonic seconds, from the same clock as all later ones. The start counts as a
        heartbeat of the calling thread.
    :raises InvalidArgument: unless timeout and check_interval are positive finite numbers.
    """

    # What is watched, if the session has more such things.
    name = None

    __slots__ = (
        "timeout",
        "check_interval",
        "_beat",
        "_beater",
        "_late_beats",
        "_paused",
        "_watched",
        "_slept",
        "_hung",
        "_last",
        "_checked",
    )

    def __init__(self, timeout, check_interval, now):
        self.timeout = positive("timeout", timeout)
        self.check_interval = positive("check_interval", check_interval)
        self._late_beats = collections.deque()
        self._paused = False
        self._beat = self._watched = self._checked = now
        self._beater = get_ident()
        self._slept = 0.0
        self._hung = False
        self._last = None

    def beat(self, now):
        """Note a heartbeat of the calling thread at `now`; takes less than a microsecond."""
        before = self._beat
        if now - before >= self.timeout and not self._paused:
            # Noted before the beat itself: a check in between must not see the beat alone.
            self._late_beats.append((before, now, self._beater))
        self._beat = now
        self._beater = get_ident()

    def pause(self, now):
        """Stop the time until resume(); counts as a heartbeat. Pauses do not nest."""
        self.beat(now)
        self._paused = True

    def resume(self, now):
        """Let the time run again from `now` on; without a pause, a plain heartbeat."""
        if not self._paused:
            self.beat(now)
            return
        self._beat = now
        self._beater = get_ident()
        self._paused = False

    def excuse(self, now):
        """End the silence so far: no heartbeat was due.  A hang that was reported is over."""
        if self._hung:
            self.beat(now)
        else:
            self._beat = now

    @property
    def is_hung(self):
        """Whether check() has reported a hang and not its end."""
        return self._hung

    def next_check(self, now):
        """Return in how many seconds check() is due, 0.0 if it is due now."""
        return max(0.0, self._checked + self.check_interval - now)

    def check(self, readings, busy=0.0):
        """Return what happened since the last check: a list of Hang and Recovered, in order.

        A Hang names the thread that beat last. If its Recovered is in the same list, the hang was
        over before a check could see it.

        :param readings: Readings taken just now.
        :param busy: seconds since the last check that the calling thread spent on other work (the
            sync of a slow disk), which explain a late check.
        """
        asleep_since = self._checked if self._slept_through(readings, busy) else readings.now
        self._checked = readings.now
        self._last = readings
        facts = []
        while self._late_beats:
            facts.extend(self._facts_of_late_beat(asleep_since, *self._late_beats.popleft()))
        if not self._paused:
            facts.extend(self._facts_of_silence(asleep_since, readings.now))
        return facts

    def _slept_through(self, readings, busy):
        last = self._last
        elapsed = readings.now - self._checked
        late = elapsed - self.check_interval - busy
        if last is None:
            return late > LATE
        if None not in (readings.boot, last.boot) and readings.boot - last.boot > elapsed + LATE:
            return True
        return late > LATE and readings.cpu - last.cpu < BUSY_SHARE * late

    def _facts_of_late_beat(self, asleep_since, before, now, beater):
        if before < self._watched:
            return []  # another thread ended this silence first
        if before > self._watched:
            self._watch_from(before)
        silence = now - before - self._slept - max(0.0, now - max(before, asleep_since))
        was_hung = self._hung
        self._watch_from(now)
        if was_hung:
            return [Recovered(silence)]
        if silence >= self.timeout:
            return [Hang(silence, self.timeout, beater), Recovered(silence)]
        return []

    def _facts_of_silence(self, asleep_since, now):
        beat = self._beat
        if beat > self._watched:
            self._watch_from(beat)
        self._slept += max(0.0, now - max(self._watched, asleep_since))
        silence = now - self._watched - self._slept
        if self._hung or silence < self.timeout:
            return []
        self._hung = True
        return [Hang(silence, self.timeout, self._beater)]

    def _watch_from(self, beat):
        self._watched = beat
        self._slept = 0.0
        self._hung = False


def positive(name, seconds):
    """Return a number of seconds as it was given.

    :raises InvalidArgument: unless it is positive and finite.
    """
    number = checks.finite(seconds)
    if number is not None and number > 0:
        return number
    raise InvalidArgument(
        "%s must be a positive, finite number of seconds, not %s" % (name, checks.shown(seconds))
    )


FRAMES = 64
THREADS = 64
LINE_CHARACTERS = 300
ALL_CHARACTERS = 128 * 1024  # well under a record's 1 MiB, whatever their JSON escapes to


def interval(timeout, check_interval):
    """Return the seconds between checks, by default 5 but at most `timeout`.

    :raises InvalidArgument: if `check_interval` was given and is more.
    """
    timeout = positive("timeout", timeout)
    if check_interval is None:
        return min(5.0, timeout)
    if positive("check_interval", check_interval) > timeout:
        raise InvalidArgument(
            "check_interval (%g s) must not be more than timeout (%g s): a hang is noticed only "
            "by a check" % (check_interval, timeout)
        )
    return check_interval


def place_of(ident):
    """Return where a thread is, such as "notes.py:72 freeze"; None if it is gone."""
    frame = sys._current_frames().get(ident)
    if frame is None:
        return None
    code = frame.f_code
    name = os.path.basename(_text(code.co_filename))
    return u"%s:%s %s" % (name, frame.f_lineno, _text(code.co_name))


def stacks(first_ident):
    """Return the stacks of all threads: a list of {"thread", "ident", "stack"}.

    The thread `first_ident` comes first, if it is alive. "stack" is a list of lines, the outermost
    call first as in a traceback. At most 64 threads, with their 64 innermost frames each, and 128
    Ki characters in all; truncation is marked. Source lines are left out: reading them could block
    on the very disk that the application hangs on.
    """
    # Not threading.enumerate(): it takes a lock that the hung thread may hold.
    threads = threading._active.copy()
    frames = sys._current_frames()
    idents = sorted(frames, key=lambda ident: (ident != first_ident, ident))
    taken = []
    room = ALL_CHARACTERS
    for ident in idents[:THREADS]:
        stack = _lines(frames[ident])
        room -= sum(len(line) for line in stack)
        if room < 0:
            break
        name = getattr(threads.get(ident), "name", "<not started by Python>")
        taken.append({"thread": _text(name), "ident": ident, "stack": stack})
    if len(taken) < len(idents):
        left_out = "<%d threads left out>" % (len(idents) - len(taken))
        taken.append({"thread": left_out, "ident": None, "stack": []})
    return taken


def _lines(frame):
    lines = []
    while frame is not None and len(lines) < FRAMES:
        code = frame.f_code
        where = u'File "%s", line %s, in %s' % (
            _text(code.co_filename),
            frame.f_lineno,
            _text(code.co_name),
        )
        lines.append(where[:LINE_CHARACTERS])
        frame = frame.f_back
    if frame is not None:
        lines.append(u"<outer frames left out>")
    lines.reverse()
    return lines


def _text(name):
    if isinstance(name, six.binary_type):
        name = name.decode("utf-8", "replace")
    return u"%s" % name
