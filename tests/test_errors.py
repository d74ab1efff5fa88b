# -*- coding: utf-8 -*-
"""Promises of the error tree: evidence as attributes, safe to print, pickle and copy."""

from __future__ import absolute_import, division

import copy
import inspect
import pickle

import pytest
import six

from datacat import errors

EVERY_KIND = [
    kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.DatacatError) and name == kind.__name__
]
RETRIABLE = {
    "CutShort",
    "NotDelivered",
    "NotSent",
    "OutcomeUnknown",
    "ServerBusy",
    "ServerFault",
    "UnexpectedAnswer",
}


def full(kind=errors.ServerBusy):
    return kind(
        "the server is busy",
        method="POST",
        path="/api/sessions/1/events",
        status=503,
        words=u"später\r\n  please",
        retry_after=7.5,
    )


def test_the_former_name_of_a_kind_is_still_there():
    assert errors.InvalidRecord is errors.InvalidArgument


def test_every_kind_is_in_the_tree_and_none_shadows_a_built_in():
    assert len(EVERY_KIND) == 18
    for kind in EVERY_KIND:
        assert not hasattr(six.moves.builtins, kind.__name__)


def test_retriable_is_known_from_the_class():
    assert {kind.__name__ for kind in EVERY_KIND if kind.retriable} == RETRIABLE


def test_a_tls_failure_is_not_sent_but_not_retriable():
    assert issubclass(errors.TlsFailure, errors.NotSent)
    assert errors.TlsFailure.retriable is False


@pytest.mark.parametrize("kind", [errors.InvalidSettings, errors.InvalidArgument])
def test_errors_of_the_caller_are_value_errors_too(kind):
    with pytest.raises(ValueError):
        raise kind("wrong")


def test_the_text_has_the_message_and_all_evidence_on_one_line():
    text = six.text_type(full())
    assert text == (
        u'the server is busy (POST /api/sessions/1/events, status 503, '
        u'the server said "später please", asked to wait 7.5 s)'
    )


def test_without_evidence_the_text_is_the_message():
    assert str(errors.MonitorNotStarted("start it first")) == "start it first"


def test_str_works_for_non_ascii_words_on_every_python():
    assert isinstance(str(full()), str)
    assert u"später" in six.ensure_text(str(full()))


def test_the_path_has_neither_query_nor_fragment():
    error = errors.ServerFault("failed", method="GET", path="/a?token=secret#x")
    assert error.path == "/a"
    assert "secret" not in str(error)


def test_the_servers_words_are_cut_to_500_characters_and_decoded():
    assert errors.ServerFault("failed", words=u"ä" * 501).words == u"ä" * 500
    assert errors.ServerFault("failed", words=b"\xff no").words == u"\ufffd no"


@pytest.mark.parametrize("kind", EVERY_KIND, ids=lambda kind: kind.__name__)
def test_every_kind_can_be_pickled_and_copied_with_its_evidence(kind):
    error = full(kind)
    twins = [copy.copy(error), copy.deepcopy(error)]
    twins += [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(3)]
    for twin in twins:
        assert type(twin) is kind
        assert vars(twin) == vars(error)
        assert six.text_type(twin) == six.text_type(error)


@pytest.mark.parametrize("kind", [errors.RequestRefused, errors.NotAuthorized])
def test_a_refusal_says_whether_a_datacat_server_sent_it(kind):
    refusal = kind("refused", status=400, words="<html>", own_words=False)
    assert refusal.own_words is False
    assert pickle.loads(pickle.dumps(refusal)).own_words is False
    assert kind("refused").own_words is True
