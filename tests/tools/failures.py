"""The ways in which a request can fail, for tests of what follows from each."""

from __future__ import absolute_import, division

from datacat import errors

KINDS = sorted(
    (
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.DatacatError)
    ),
    key=lambda kind: kind.__name__,
)
STATUSES = [None, 200, 302, 400, 401, 403, 404, 413, 500, 503]


def error(kind, **evidence):
    """Return an error of a class in `datacat.errors` with some evidence."""
    return kind("it failed", **evidence)
