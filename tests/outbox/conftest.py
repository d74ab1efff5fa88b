"""An outbox for each test, closed after it."""

from __future__ import absolute_import, division

import pytest
from tools.outboxes import Box


@pytest.fixture
def box(tmp_path):
    made = Box(tmp_path)
    yield made
    made.close()


@pytest.fixture
def make_box(tmp_path):
    made = []

    def make(**options):
        made.append(Box(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
