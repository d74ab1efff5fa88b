"""RFC 3339 timestamps as Go reads and prints them, to the nanosecond.

Belongs here: checking and formatting.  Does not: clocks.

A client's timestamp remains text, so that it comes back exactly.
"""

import datetime
import re

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?" r"(Z|[+-]\d\d:\d\d)", re.ASCII
)
_SECOND = 10**9


def normalised(text):
    """Return a timestamp as Go prints it: up to nanoseconds, no trailing zeros, Z for UTC.

    :raises ValueError: if it is not RFC 3339 with a zone.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 timestamp with a zone")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    # Go accepts the year 0, a leap year like 400.
    datetime.datetime(year or 400, month, day, hour, minute, second)
    fraction, zone = match.group(7), match.group(8)
    return text[:19] + _fraction(fraction or "") + _zone(zone)


def printed(nanoseconds):
    """Format a time, in nanoseconds since the epoch (int), in UTC."""
    seconds, fraction = divmod(nanoseconds, _SECOND)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + _fraction(f"{fraction:09d}") + "Z"


def _fraction(digits):
    kept = digits[:9].rstrip("0")
    return "." + kept if kept else ""


def _zone(zone):
    if zone == "Z":
        return zone
    if int(zone[1:3]) > 23 or int(zone[4:]) > 59:
        raise ValueError("no such offset")
    return "Z" if zone[1:] == "00:00" else zone
