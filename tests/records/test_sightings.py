"""One exception object is told once, however often it is seen, and again when raised again."""

from __future__ import absolute_import, division

import copy
import gc
import json
import pickle
import sys
import threading

import pytest
import six

from datacat.records.sightings import Sightings

STORED = ValueError("stored")


class Seen(object):
    """A session's sightings; `see()` in an `except` block notes whether the exception is told."""

    def __init__(self):
        self.sightings = Sightings("local-1")
        self.told = []

    def see(self):
        error, trace = sys.exc_info()[1:]
        self.told.append(self.sightings.look(error, trace)[1])

    def raise_and_see(self, error):
        try:
            raise error
        except ValueError:
            self.see()


@pytest.fixture
def seen():
    return Seen()


def test_an_exception_that_is_seen_twice_where_it_is_handled_is_told_once(seen):
    try:
        raise ValueError()
    except ValueError:
        seen.see()
        seen.see()
    assert seen.told == [True, False] and seen.sightings.again == 1


def test_an_exception_is_told_once_on_its_way_out(seen):
    def inner():
        try:
            int("x")
        except ValueError:
            seen.see()
            raise

    def outer():
        try:
            inner()
        except Exception:
            seen.see()
            raise

    try:
        outer()
    except ValueError:
        seen.see()
    assert seen.told == [True, False, False]


def test_raising_an_exception_by_its_name_where_it_is_handled_is_not_raising_it_anew(seen):
    def inner():
        try:
            raise ValueError()
        except ValueError as error:
            seen.see()
            raise error

    try:
        inner()
    except ValueError:
        seen.see()
    try:
        try:
            raise ValueError()
        except ValueError as error:
            seen.see()
            raise error
    except ValueError:
        seen.see()
    assert seen.told == [True, False] * 2


def test_passing_an_exception_on_by_reraise_is_not_raising_it_anew(seen):
    try:
        try:
            raise ValueError()
        except ValueError:
            seen.see()
            six.reraise(*sys.exc_info())
    except ValueError:
        seen.see()
    assert seen.told == [True, False]


@pytest.mark.skipif(six.PY2, reason="concurrent.futures is not part of 2.7")
def test_an_exception_that_a_future_carries_is_told_once(seen):
    from concurrent.futures import ThreadPoolExecutor

    def work():
        try:
            int("x")
        except ValueError:
            seen.see()
            raise

    with ThreadPoolExecutor(1) as pool:
        try:
            pool.submit(work).result()
        except ValueError:
            seen.see()
    assert seen.told == [True, False]


def test_the_same_object_raised_anew_in_a_loop_is_told_again(seen):
    for _ in range(3):
        try:
            raise STORED
        except ValueError:
            seen.see()
    assert seen.told == [True] * 3 and seen.sightings.again == 0


def test_the_same_object_raised_anew_further_down_is_told_again(seen):
    error = ValueError()
    try:
        raise error
    except ValueError:
        seen.see()
    try:
        raise error
    except ValueError:
        seen.see()
        seen.see()
    assert seen.told == [True, True, False]


def test_the_same_object_raised_anew_in_another_call_is_told_again(seen):
    error = ValueError()

    def fail():
        raise error

    def call():
        try:
            fail()
        except ValueError:
            seen.see()
            seen.see()

    call()
    call()
    seen.raise_and_see(error)
    seen.raise_and_see(error)
    assert seen.told == [True, False, True, False, True, True]


@pytest.mark.skipif(six.PY2, reason="exceptions of 2.7 have no traceback")
def test_the_same_object_raised_anew_without_its_old_traceback_is_told_again(seen):
    error = ValueError()

    def call():
        try:
            raise error.with_traceback(None)
        except ValueError:
            seen.see()

    for _ in range(3):
        call()
    for _ in range(3):
        try:
            raise error.with_traceback(None)
        except ValueError:
            seen.see()
    assert seen.told == [True] * 6


def test_an_exception_that_is_told_before_it_is_raised_is_told_once(seen):
    error = ValueError()
    seen.sightings.look(error, None)
    seen.raise_and_see(error)
    assert seen.told == [False]
    seen.raise_and_see(error)
    assert seen.told == [False, True]


def test_each_session_tells_an_exception():
    error = ValueError()
    assert [Sightings(name).look(error, None)[1] for name in ("a", "b", "a")] == [
        True,
        True,
        False,
    ]


def test_the_same_exception_has_the_same_reference_and_no_other_has():
    one, other = ValueError("same"), ValueError("same")
    sightings = Sightings("a")
    references = [sightings.look(error, None)[0] for error in (one, other, one)]
    assert references[0] == references[2] != references[1]


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_a_copy_of_an_exception_is_another_exception(seen, copied):
    error = ValueError("e")
    seen.raise_and_see(error)
    other = copied(error)
    assert seen.sightings.look(other, None)[1] and not seen.sightings.look(other, None)[1]


def test_the_mark_passes_for_an_empty_dict_elsewhere(seen):
    error = ValueError("e")
    seen.raise_and_see(error)
    assert list(json.loads(json.dumps(vars(error))).values()) == [{}]


def test_an_exception_whose_attributes_cannot_be_had_is_told_once(seen):
    class Closed(ValueError):
        def __getattribute__(self, name):
            raise RuntimeError()

        __setattr__ = __getattribute__

    error = Closed()
    assert [seen.sightings.look(error, None)[1] for _ in range(2)] == [True, False]


def test_what_is_no_exception_is_told_every_time(seen):
    assert seen.sightings.look(None, None) == seen.sightings.look("odd", None) == (None, True)


def test_an_exception_is_freed_when_it_is_handled(seen):
    """On 2.7, the mark must not refer to the traceback, which refers to the exception's user."""
    gone = []

    class Local(object):
        def __del__(self):
            gone.append(True)

    def fail():
        local = Local()
        raise ValueError(local.__class__)

    def call():
        try:
            fail()
        except ValueError:
            seen.see()
        if six.PY2:
            sys.exc_clear()

    gc.disable()
    try:
        call()
        assert gone == [True] and seen.told == [True]
    finally:
        gc.enable()


def test_sightings_in_many_threads_are_all_counted(seen):
    error = ValueError()
    threads = [
        threading.Thread(target=lambda: [seen.sightings.look(error, None) for _ in range(500)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.sightings.again == 4 * 500 - 1
