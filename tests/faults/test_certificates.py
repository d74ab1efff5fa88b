"""Network (27): nothing is sent to a server without a valid certificate, and all is kept."""

from __future__ import absolute_import, division

import datetime
import ssl

import pytest
from tools.tls_front import TlsFront
from tools.trial import Trial
from tools.waiting import wait_until

trustme = pytest.importorskip(
    "trustme", reason="making certificates needs trustme, which this Python does not have"
)

NAME = u"127.0.0.1"
RECORDS = 20
HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def authority(tmp_path):
    """A certificate authority; its certificate is tmp_path/ca.pem."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return made


def context_of(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def wrong_certificate(way, authority):
    if way == "expired":
        past = datetime.datetime.now(datetime.timezone.utc) - HOUR
        return authority.issue_cert(NAME, not_after=past)
    if way == "wrong name":
        return authority.issue_cert(u"elsewhere.example")
    return trustme.CA().issue_cert(NAME)


@pytest.mark.parametrize("way", ["expired", "wrong name", "unknown authority"])
def test_nothing_is_sent_without_a_valid_certificate_and_all_is_kept_until_then(
    own_collector, authority, tmp_path, way
):
    """Trust: one clear warning, not a byte of a request; with a valid certificate all arrives."""
    wrong = context_of(wrong_certificate(way, authority))
    with TlsFront(own_collector.port, wrong) as front:
        trial = Trial(tmp_path, own_collector, front.url)
        try:
            run_without_trust(trial, front, tmp_path)
            front.context = context_of(authority.issue_cert(NAME))
            trial.start(RECORDS, verify=str(tmp_path / "ca.pem"))
            trial.await_arrived()
            trial.leave()
        finally:
            trial.close()
    assert front.accepted >= 1
    trial.check()
    trial.check_no_losses()


def run_without_trust(trial, front, tmp_path):
    trial.start(RECORDS, verify=str(tmp_path / "ca.pem"), farewell="close", patience=0.5)
    trial.said("LOGGED")
    wait_until(lambda: trial.warnings())
    (stats,) = trial.leave(patience=0.5)
    assert front.refused >= 1 and front.accepted == 0
    assert stats["waiting"] == RECORDS + 1 and not stats["dead"]
    (warning,) = trial.warnings()
    for words in (warning, stats["last_error"]):
        assert "no trusted connection" in words and "certificate" in words
