"""farewells.py: what is merely slow passes, what hangs fails."""

from __future__ import absolute_import, division

import pytest

from tools import farewells

KEPT = u"one line\nPARTED 0.5 29.9\nPARTED 5 0.1\nLEAVES 10.0\n"


def test_an_end_close_and_exit_that_are_merely_slow_pass():
    farewells.check(KEPT, 41.9)


def test_an_end_or_close_that_hung_fails():
    with pytest.raises(AssertionError, match="a farewell of 0.5 s took 30.6"):
        farewells.check(KEPT + u"PARTED 0.5 30.6\n", 41.9)


def test_an_exit_that_hung_fails():
    with pytest.raises(AssertionError, match="32.6 s to exit"):
        farewells.check(KEPT, 42.6)


def test_end_and_close_print_how_long_they_took(capfd):
    """With the seconds as either kind of argument, and if they raise."""

    class Session(object):
        def end(self, timeout=5):
            return "ended"

        def close(self, timeout=5):
            raise ValueError(timeout)

    farewells.watch(Session)
    assert Session().end() == "ended" and Session().end(timeout=2) == "ended"
    with pytest.raises(ValueError):
        Session().close(0.5)
    farewells.leave()
    words = [line.split()[:2] for line in capfd.readouterr()[0].splitlines()]
    assert words[:3] == [["PARTED", "5"], ["PARTED", "2"], ["PARTED", "0.5"]]
    assert words[3][0] == "LEAVES"
