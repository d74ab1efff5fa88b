"""Outboxes belong to a server and product; the machine is told apart, whatever its name is."""

from __future__ import absolute_import, division

import hashlib
import socket

import pytest

from datacat import scope, settings


def of(url="http://cats", product="shop", **options):
    return scope.of(settings.resolve(url, product=product, **options))


def test_the_key_depends_on_server_and_product_only(monkeypatch):
    key = of().key
    assert len(key) == 12 and int(key, 16) >= 0
    assert of("http://CATS:80/", api_key="k").key == key
    assert of("http://dogs").key != key and of(product="till").key != key
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert of(machine="another").key == key


def test_the_machine_is_the_systems_own_id_or_else_the_host_name(monkeypatch, tmp_path):
    """Host names change: laptops on DHCP, pods."""
    files = [str(tmp_path / "none"), str(tmp_path / "id")]
    monkeypatch.setattr(scope, "_FILES", files)
    monkeypatch.setattr(scope.sys, "platform", "linux")
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    by_name = of().machine
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert of().machine != by_name
    for content in (b"", b"uninitialized\n"):
        (tmp_path / "id").write_bytes(content)
        assert scope.machine_name() == u"elsewhere"
    (tmp_path / "id").write_bytes(b"0123456789abcdef0123456789abcdef\n")
    by_id = of().machine
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    assert of().machine == by_id != by_name
    assert len(by_id) == 12 and by_id not in "0123456789abcdef0123456789abcdef"


def test_the_machine_can_be_set(monkeypatch):
    named = of(machine="pod-1").machine
    assert named == of(machine=u"pod-1").machine != of(machine="pod-2").machine
    monkeypatch.setenv("DATACAT_MACHINE", "pod-1")
    assert of().machine == named


@pytest.mark.parametrize("host", ["laptop", "gr\xfcn"])
def test_the_scope_of_older_outboxes_is_known(host, monkeypatch):
    """Until 0.2 it was one of server, product and host name."""
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    text = host if isinstance(host, type(u"")) else host.decode("utf-8", "replace")
    whole = u"\n".join((u"http://cats", u"shop", text))
    assert of().older == hashlib.sha256(whole.encode("utf-8")).hexdigest()[:12]
