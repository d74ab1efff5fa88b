"""A call's record, on its way from the arguments to the outbox.

Belongs here: what log calls have in common, and that an exception is told once.  Does not: what is
recorded or held back, and how it is kept.
"""

from __future__ import absolute_import, division

from os import getpid

from .. import notices
from .._compat import StackExhausted
from ..records import build, exceptions, kinds
from ..stack import OVERFLOWS_STICK, RecoverableOverflow, call_with_room, with_room
from . import holding

# What an exception's event says besides the exception: the usual category, group and message.
NO_MORE = (None, None, None)


def keep(membership, kind, body):
    """Keep a record, and wake the sender if it sleeps; raises nothing once it is kept."""
    # Read once: another thread may replace the place at any time.
    here = membership.place
    if here.process != getpid() or not here.append(here.entry, kind, body):
        membership.keep_in_next_place(None, kind, body)
    elif here.sleepers:
        here.sleepers.wake()


def record(membership, kind, make, arguments, encode=build.encode, is_first=True):
    """Build a record by `make(*arguments)` and keep it.

    :raises InvalidArgument: if it cannot be recorded.
    """
    if not membership.is_recording:
        return
    try:
        fields, screen = make(*arguments), membership.screen
        body = encode(fields) if screen is None else screen(kind, fields, encode)
        if body is not None:
            keep(membership, kind, body)
    except MemoryError:
        membership.give_up(kind)
    except RecoverableOverflow:
        # Nothing is kept yet: `keep` does not raise this once something is.
        if not is_first:
            raise
        call_with_room(record, membership, kind, make, arguments, encode, False)


if OVERFLOWS_STICK:
    record = with_room(record)


def tell(membership, sighting, given, more=NO_MORE, is_explicit=True):
    """Record an exception; or count it, if the session has told it before or holds it back.

    :param sighting: an empty list.  What is found out is kept in it, because a call that runs out
        of stack is made again, and sees nothing new then.
    :param given: (extra data, exception, exception being handled), see `exceptions.sort_out`.
    :param more: (category, group, message) to record instead of those of every exception.
    :param is_explicit: whether what the call brings is recorded if the exception is told already.
    """
    if not membership.is_recording:
        return
    try:
        exc_info, extra_data = exceptions.sort_out(*given)
        if not sighting:
            sighting.extend(membership.sightings.look(*exceptions.triple(exc_info)[1:]))
        reference, is_new = sighting
        kind, make = kinds.EXCEPTION, exceptions.exception
        if not is_new:
            kind, make = kinds.EVENT, exceptions.seen_again
        is_wanted = is_new or (is_explicit and _brings_something(extra_data, more))
        if is_wanted and not holding.holds_back_exception(membership, exc_info):
            arguments = (exc_info, extra_data, reference) + more
            record(membership, kind, make, arguments, exceptions.encode_cut)
        if not exceptions.is_told(exc_info):
            # Last: a handler of the application's may raise SystemExit.
            membership.warn(*exceptions.NOTHING_TO_TELL)
    except StackExhausted:
        raise
    except Exception:
        notices.report("bug in datacat, please report it (an exception was not logged)")


def tell_held_back(membership):
    """Record what the session has held back and not told yet, if anything."""
    try:
        body = membership.holding.take(membership.redact)
        if body is not None:
            keep(membership, kinds.EVENT, body)
    except MemoryError:
        membership.give_up(kinds.EVENT)


def _brings_something(extra_data, more):
    is_empty = extra_data is None or (type(extra_data) is dict and not extra_data)
    return not is_empty or any(each is not None for each in more)
