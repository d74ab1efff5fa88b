"""The running totals of a session in this process, and when they are written.

Belongs here: `RunningTotals`, and that a call counts in it.  Does not: arithmetic (see
`records.totals`), how a record is kept.

Theory of operation

1. A call puts its sample on a queue, where it counts: one step in C, so that signal handlers and
   finalizers may count, too.  Whoever adds up what is on the queue has the lock; a call tries for
   it only if the queue has become long, and never waits.
2. A total is replaced by a single assignment, and knows its last sample.  If adding up is
   interrupted before the sample is off the queue, it is not added once more.
3. A total is written as an ordinary record: when its oldest unwritten sample is `seconds` old, by
   the keeper, which the first such sample wakes; and at flush, end, close and exit.  If the keeper
   is late, because no thread can be started or the process is exiting, the next call writes.
4. Totals are copied with the lock, turned into records without it, because that may call the
   application's `before_record`, and kept with the lock again, unless another thread has kept a
   newer one meanwhile.  So the last record of a total is its newest.
5. A forked child counts from 0, in an object of its own, and its records have a tag
   `process:<id>`.  What its parent has not written is written by the parent.
6. The totals go on as long as the session does in this process: over `end` and `close`, and when
   the server has it under another id (after `rotate_after`, or because it lost the session).
"""

from __future__ import absolute_import, division

import collections
import functools
from os import getpid

from .. import locks, notices
from .._compat import ESCAPED, get_ident, monotonic
from ..errors import InvalidArgument
from ..records import build, kinds, totals
from ..stack import OVERFLOWS_STICK, RecoverableOverflow, call_with_room, try_with_room, with_room
from . import recording, shutdown
from .gate import LONGEST_WAIT_FOR_LOCK

# Seconds after which a call writes what the keeper should have written, and the keeper what it
# could not write.
LATE_SECONDS = 1.0
# How many samples a call leaves to be added up later.
LONG_QUEUE = 64


def count(member, make, arguments, is_first=True):
    """Count the sample that `make(*arguments)` returns.

    :param member: the session's Membership.
    :raises InvalidArgument: if it cannot be recorded.
    """
    if not member.is_recording:
        return
    try:
        member.totals.add(member, make(*arguments))
    except MemoryError:
        member.give_up(kinds.METRIC)
    except RecoverableOverflow:
        # It does not count yet: `add` does not raise this once it does.
        if not is_first:
            raise
        call_with_room(count, member, make, arguments, False)


if OVERFLOWS_STICK:
    count = with_room(count)


def write_all(members, until):
    """Write, at exit, what sessions have not written, until a time (monotonic) at the latest."""
    for member in members:
        try:
            member.totals.write(member, until - monotonic())
        except ESCAPED:
            # By `before_record`: the other sessions' totals are written all the same.
            pass


class RunningTotals(object):
    """The running totals of one session; thread-safe, and safe in signal handlers and finalizers.

    :param seconds: for how long a sample may stay unwritten.
    """

    def __init__(self, seconds):
        self._seconds = seconds
        self._home = getpid()
        # {id of a process: its _Totals}; those of its parents stay as they were at the fork.
        self._of_process = {}

    @property
    def are_unwritten(self):
        """Whether this process has samples that are not written."""
        here = self._of_process.get(getpid())
        return here is not None and here.since is not None

    def add(self, member, sample):
        """Count a Sample.

        :raises InvalidArgument: if its total could not be recorded.
        """
        process = getpid()
        here = self._of_process.get(process)
        if here is None:
            tag = None if process == self._home else process
            here = self._of_process.setdefault(process, _Totals(self._seconds, tag))
        here.add(member, sample)

    def write(self, member, seconds=LONGEST_WAIT_FOR_LOCK):
        """Write what this process has not written; return False if that is not possible now.

        :param seconds: how long to wait for another thread that writes.
        """
        here = self._of_process.get(getpid())
        return here is None or here.write(member, seconds)

    def step(self, member, now):
        """For the keeper: write what is due; return in how many seconds more is, or None."""
        here = self._of_process.get(getpid())
        return None if here is None else here.step(member, now)


class _Totals(object):
    """Those of one process.

    :ivar since: when (monotonic) the oldest sample was counted that is not written; None: all are.
    """

    def __init__(self, seconds, tag):
        self.since = None
        self._seconds = seconds
        self._tag = tag
        self._lock = locks.RLock()
        self._queue = collections.deque()
        self._totals = {}
        self._written = {}
        self._writers = set()

    def add(self, member, sample):
        if sample.metadata is not None or sample.key not in self._totals:
            build.encode(totals.longest(sample))
        self._queue.append(sample)
        try:
            self._attend(member)
        except MemoryError:
            pass  # the next call does it
        except RecoverableOverflow:
            try_with_room(functools.partial(self._attend, member))

    def _attend(self, member):
        """See to it that what was counted will be written."""
        now, since = monotonic(), self.since
        if since is None:
            self.since = since = now
            member.attend()
        if now - since >= self._seconds + LATE_SECONDS or shutdown.is_exiting():
            self.write(member, 0)
        elif len(self._queue) >= LONG_QUEUE:
            self._hold(self._add_up, 0)

    def _hold(self, step, seconds):
        """Call `step()` with the lock; return whether it was called.

        Not if this call interrupts its own thread with the lock, or it is not free in time.
        """
        return not locks.is_owned(self._lock) and locks.run_holding(self._lock, step, seconds)

    def _add_up(self):
        queue, current = self._queue, self._totals
        # Not until it is empty: other threads may be as fast.
        for _ in range(len(queue)):
            sample = queue[0]
            total = current.get(sample.key)
            if total is None or total.last is not sample:
                current[sample.key] = totals.plus(total, sample)
            queue.popleft()

    def step(self, member, now):
        since = self.since
        if since is None:
            return None
        left = since + self._seconds - now
        if left > 0 and member.abandoned_at is None:
            return left
        if not self._try_to_write(member, LONGEST_WAIT_FOR_LOCK):
            return LATE_SECONDS
        since = self.since
        return None if since is None else since + self._seconds - now

    def write(self, member, seconds):
        is_written = False
        try:
            is_written = self._try_to_write(member, seconds)
            return is_written
        finally:
            if not is_written:
                # The keeper may have looked meanwhile, and found nothing to do.
                member.attend()

    def _try_to_write(self, member, seconds):
        me, until = get_ident(), monotonic() + seconds
        if me in self._writers:
            # This call interrupts its own thread here, or `before_record` makes it.
            return False
        is_written, since = False, self.since
        try:
            self._writers.add(me)
            # Before they are copied: what is counted from now on may be missing in the copy.
            self.since = None
            is_written = self._write_now(member, until)
            self._leave(me, is_written, since)
            return is_written
        except BaseException:
            self._leave(me, is_written, since)
            raise

    def _leave(self, me, is_written, since):
        self._writers.discard(me)
        if not is_written:
            self.since = since or monotonic()

    def _write_now(self, member, until):
        try:
            return self._write(member, until)
        except MemoryError:
            return False
        except RecoverableOverflow:
            return False

    def _write(self, member, until):
        changed = []

        def copy():
            self._add_up()
            for key, total in self._totals.items():
                if self._written.get(key) is not total:
                    changed.append((key, total))

        if not self._hold(copy, until - monotonic()):
            return False
        changed.sort(key=lambda pair: (pair[0].name, pair[0].tags))
        bodies = [(key, total, self._body(member, key, total)) for key, total in changed]
        return self._hold(lambda: self._keep(member, bodies), until - monotonic())

    def _body(self, member, key, total):
        """Return the record of a total (bytes), None if it is dropped."""
        fields, redact = totals.fields(key, total, self._tag), member.redact
        try:
            return build.encode(fields) if redact is None else redact.body(kinds.METRIC, fields)
        except InvalidArgument as error:
            # It was small enough before `before_record` changed it.
            member.give_up(kinds.METRIC)
            notices.warn("a running total is dropped: %s" % error)
            return None

    def _keep(self, member, bodies):
        for key, total, body in bodies:
            written = self._written.get(key)
            if written is None or written.count < total.count:
                if body is not None:
                    recording.keep(member, kinds.METRIC, body)
                self._written[key] = total
