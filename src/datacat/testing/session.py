"""A session that records what it is told, for a test to look at.

Belongs here: what a test can ask.  Does not: checking and converting, which the real session does.
"""

from __future__ import absolute_import, division

from datacat import Session
from datacat.recorded import Recording
from datacat.testing import differences


class RecordingSession(Session):
    """A `Session` with the real one's checks and conversions, but no file, thread or request.

    Thread-safe.  Records are dicts of plain JSON values, as a v1 server gets them, without the
    time; optional fields that were not given are missing.

    :param options: those of `datacat.create_session`, such as `before_record`.
    :raises InvalidSettings, TypeError: as `create_session` does.
    """

    def __init__(self, **options):
        super(RecordingSession, self).__init__(Recording(**options))

    def __repr__(self):
        return "<datacat session, recording %d records>" % len(self._membership.records)

    @property
    def events(self):
        """The events, without exceptions, in the order of the calls (list of dict)."""
        return self._fields_of("event")

    @property
    def metrics(self):
        """The metrics, in the order of the calls (list of dict).

        What counters and histograms add up to is recorded when a test looks, and at flush and end.
        """
        return self._fields_of("metric")

    @property
    def exceptions(self):
        """The exceptions, in the order of the calls (list of dict)."""
        return self._fields_of("exception")

    @property
    def state(self):
        """What the server would have made of all updates (dict)."""
        return self._membership.state()

    def _fields_of(self, *kinds):
        # What counters and histograms add up to so far.
        self.flush()
        return [fields for kind, fields in list(self._membership.records) if kind in kinds]

    def assert_logged(*session_and_name, **data):
        """Assert that an event or exception was logged with this name and, among more, this data.

        Called as `session.assert_logged("saved", path="a.txt")`; any key may be in the data.
        Values are equal if they are recorded alike, or compare equal (as `mock.ANY` does).

        :returns: the first one that fits (dict).
        :raises AssertionError: if none does; it shows the closest one, and how it differs.
        """
        __tracebackhide__ = True
        if len(session_and_name) != 2:
            raise TypeError(
                "assert_logged takes the name of an event, and its data by keyword: "
                'assert_logged("saved", path="a.txt")'
            )
        session, name = session_and_name
        logged = session._fields_of("event", "exception")
        for fields in logged:
            if fields["name"] == name and not differences.keys_that_differ(data, fields["data"]):
                return fields
        raise AssertionError(differences.explained(name, data, logged))

    def get_details(self, timeout=5):
        """Return what a server would have of the session (dict).

        `id`, `active` (bool), `state`, `events` (with the exceptions) and `metrics`.

        :param timeout: checked, and not used.
        :raises InvalidArgument: if `timeout` is not a number of 0 or more.
        """
        self.flush(timeout)
        return {
            "id": self.session_id,
            "active": not self._membership.is_ended,
            "state": self.state,
            "events": self._fields_of("event", "exception"),
            "metrics": self.metrics,
        }
