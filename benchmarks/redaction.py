"""What redaction costs a log call: with it and without it, side by side."""

from __future__ import absolute_import, division

from . import subjects
from .log_calls import sizes
from .measuring import interleaved, main, paired

LARGE = dict(subjects.DATA, text="An ordinary line of a log, with nothing to hide in it. " * 300)
SECRET = dict(subjects.DATA, customer_token="c-20419-7731")
LARGE_SECRET = dict(LARGE, customer_token="c-20419-7731")


def rows(scale):
    """Return the rows of events without a secret and with one, with 150 bytes and with 17 kB."""
    found = []
    with subjects.session() as on, subjects.session(redact=False) as off:
        for what, data in (
            ("150 bytes, no secret", subjects.DATA),
            ("150 bytes, a secret", SECRET),
            ("17 kB, no secret", LARGE),
            ("17 kB, a secret", LARGE_SECRET),
        ):
            calls = [
                lambda: on.log_event(subjects.NAME, data),  # noqa: B023
                lambda: off.log_event(subjects.NAME, data),  # noqa: B023
            ]
            ours, floor = interleaved(calls, *sizes(scale))
            found.append(paired("log_event, %s, p50" % what, ours, "redact=False", floor))
    return found


MEASURES = [rows]

if __name__ == "__main__":
    main(MEASURES)
