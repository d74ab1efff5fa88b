"""A Redaction of a function that stands for an application's `before_record`."""

from __future__ import absolute_import, division

from datacat.records.before_record import BeforeRecord
from datacat.records.redaction import Redaction


def shown_to(function):
    """Return a Redaction with that function as its `before_record`, and no warnings."""
    return Redaction(BeforeRecord(function, lambda topic, words: None))
