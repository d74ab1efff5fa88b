"""Benches for the sender's tests: each a process's sender, made and ended by a fixture."""

from __future__ import absolute_import, division

import pytest
from tools.sending import Bench, prepared


@pytest.fixture
def make_bench(tmp_path):
    """Makes benches on one folder, v1 unless told otherwise."""
    made = []

    def make(**options):
        made.append(Bench(str(tmp_path / "spool"), **options))
        return made[-1]

    yield make
    for each in made:
        each.die()


@pytest.fixture(params=["v1", "classic"])
def bench(request, make_bench):
    """A bench with an open session, of either generation; `bench.entry` is the session's."""
    return prepared(make_bench(classic=request.param == "classic"))


@pytest.fixture
def v1(make_bench):
    """A bench with an open session on a v1 server."""
    return prepared(make_bench())


@pytest.fixture
def classic(make_bench):
    """A bench with an open session on a classic server."""
    return prepared(make_bench(classic=True))
