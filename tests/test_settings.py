# -*- coding: utf-8 -*-
"""Settings: checked once, immutable, compared by value, never showing the key."""

from __future__ import absolute_import, division

import os
import sys

import pytest
import six

from datacat import settings
from datacat.errors import InvalidSettings


def test_the_defaults_are_the_documented_ones(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/opt/shop/till.py"])
    made = settings.resolve()
    assert made.base_url == "http://localhost:8080"
    assert (made.product, made.version) == ("till", "unknown")
    assert (made.connect_wait, made.timeout, made.deadline) == (2.0, 10.0, 30.0)
    assert (made.verify, made.trust_env, made.stamp_late) == (True, True, True)
    assert made.max_bytes == 256 * 1024 * 1024
    assert made.window == 64
    assert made.rotate_after is None
    assert made.aggregate_seconds == 5.0
    assert dict(made.max_per_minute) == {"exception": 60, "event": None, "metric": None}
    assert made.sample == ()
    assert made.durability == "process"
    assert made.end_on_signals == ()
    assert made.redact is True
    assert (made.recording, made.disabled) == (True, False)
    for name in (
        "api_key",
        "hostname",
        "machine_id",
        "spool_dir",
        "cert",
        "proxies",
        "bandwidth",
        "before_record",
        "on_status",
    ):
        assert getattr(made, name) is None


@pytest.mark.parametrize(
    "started_as, product",
    [
        ("/opt/shop/till.py", "till"),
        ("till", "till"),
        ("/opt/shop/__main__.py", "shop"),
        ("/opt/v1.2/tool", "tool"),
        ("/opt/archive.v2", "archive.v2"),
        ("", "python"),
        ("-c", "python"),
        ("-", "python"),
    ],
)
def test_the_product_defaults_to_the_name_of_the_main_program(monkeypatch, started_as, product):
    monkeypatch.setattr(sys, "argv", [started_as, "argument"])
    assert settings.resolve().product == product


@pytest.mark.parametrize("argv", [None, []])
def test_the_product_defaults_to_python_without_a_main_program(monkeypatch, argv):
    monkeypatch.setattr(sys, "argv", argv)
    assert settings.resolve().product == "python"


def test_an_undecodable_program_name_still_makes_a_product_that_json_can_hold(monkeypatch):
    name = b"caf\xe9.py"
    monkeypatch.setattr(sys, "argv", [name if six.PY2 else os.fsdecode(name)])
    product = settings.resolve().product
    assert product.encode("utf-8").startswith(b"caf")


def test_arguments_override_the_environment_which_is_read_at_each_call(monkeypatch):
    monkeypatch.setenv("DATACAT_URL", "https://cats.example/")
    monkeypatch.setenv("DATACAT_API_KEY", "key-1")
    monkeypatch.setenv("DATACAT_PRODUCT", "shop")
    monkeypatch.setenv("DATACAT_VERSION", "7")
    monkeypatch.setenv("DATACAT_SPOOL_DIR", "/var/cats")
    made = settings.resolve()
    assert (made.base_url, made.api_key, made.product, made.version, made.spool_dir) == (
        "https://cats.example",
        "key-1",
        "shop",
        "7",
        "/var/cats",
    )
    given = settings.resolve(
        "http://other", product="till", version="8", api_key="key-2", spool_dir="/tmp/cats"
    )
    assert (given.base_url, given.api_key, given.product, given.version, given.spool_dir) == (
        "http://other",
        "key-2",
        "till",
        "8",
        "/tmp/cats",
    )


def test_an_empty_variable_is_ignored_and_an_empty_api_key_means_none(monkeypatch):
    monkeypatch.setenv("DATACAT_URL", "")
    monkeypatch.setenv("DATACAT_API_KEY", "key-1")
    assert settings.resolve().base_url == "http://localhost:8080"
    assert settings.resolve(api_key="").api_key is None


@pytest.mark.parametrize(
    "value, disabled",
    [
        ("1", True),
        ("true", True),
        ("YES", True),
        ("on", True),
        ("0", False),
        ("no", False),
        ("", False),
    ],
)
def test_datacat_disabled_disables_unless_the_call_says_otherwise(monkeypatch, value, disabled):
    monkeypatch.setenv("DATACAT_DISABLED", value)
    assert settings.resolve().disabled is disabled
    assert settings.resolve(disabled=False).disabled is False


@pytest.mark.parametrize(
    "given, normal",
    [
        ("HTTP://LocalHost:8080/", "http://localhost:8080"),
        ("http://localhost:80", "http://localhost"),
        ("https://cats.example:443///", "https://cats.example"),
        ("https://cats.example:80", "https://cats.example:80"),
        ("https://cats.example/Prefix/", "https://cats.example/Prefix"),
        ("http://[::1]:9090", "http://[::1]:9090"),
        (u"http://b\xfccher.example/caf\xe9", "http://xn--bcher-kva.example/caf%C3%A9"),
        (u"http://fa\xdf.example", "http://xn--fa-hia.example"),
        (u"http://B\xdcCHER.example", "http://xn--bcher-kva.example"),
        ("http://cats.example/a%20b", "http://cats.example/a%20b"),
        ("http://cats.example:", "http://cats.example"),
    ],
)
def test_the_base_url_is_normalised(given, normal):
    assert settings.resolve(given).base_url == normal
    assert isinstance(settings.resolve(given).base_url, six.text_type)


@pytest.mark.parametrize(
    "wrong",
    [
        "localhost:8080",
        "ftp://cats.example",
        "http://",
        "http:///path",
        "//cats.example",
        "cats",
        "http://cats.example:0",
        "http://cats.example:65536",
        "http://cats.example:many",
        "http://cats.example\r\nX: y",
        "http://cats example",
        "http://cats.example/\x00",
        "http://cats.example\\@evil",
        "http://a..b",
        "http://[::1",
        " http://cats.example",
        "",
        "  ",
        17,
        ["http://cats.example"],
    ],
)
def test_an_invalid_base_url_is_refused(wrong):
    with pytest.raises(InvalidSettings) as caught:
        settings.resolve(wrong)
    assert "base_url" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@cats.example",
        "http://hunter2@cats.example",
        "http://cats.example/?token=hunter2",
        "http://cats.example/#hunter2",
    ],
)
def test_credentials_in_a_base_url_are_refused_and_not_shown(url):
    with pytest.raises(InvalidSettings) as caught:
        settings.resolve(url)
    assert "hunter2" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        "hunter2\n",
        "hunter2\r\nX: y",
        "hunter2\x00",
        "hunter2\x7f",
        u"hunter2\x85",
        u"hunter2\u20ac",
    ],
)
def test_an_api_key_that_no_header_can_hold_is_refused_and_not_shown(wrong):
    with pytest.raises(InvalidSettings) as caught:
        settings.resolve(api_key=wrong)
    assert "api_key" in str(caught.value)
    assert "hunter2" not in str(caught.value) + repr(caught.value)


def test_the_repr_hides_the_api_key_and_proxy_credentials():
    made = settings.resolve(api_key="hunter2", proxies={"https": "http://u:hunter3@proxy:3128"})
    assert "api_key='***'" in repr(made)
    assert "hunter" not in repr(made) + str(made) + "%s" % (made,)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"timeout": "10"},
        {"timeout": True},
        {"deadline": 0},
        {"connect_wait": -0.1},
        {"aggregate_seconds": 0},
        {"durability": "none"},
        {"verify": 1},
        {"verify": ""},
        {"cert": ("a",)},
        {"cert": 3},
        {"proxies": "http://proxy"},
        {"proxies": {"https": 3}},
        {"trust_env": "yes"},
        {"stamp_late": 1},
        {"max_bytes": 0},
        {"max_bytes": 1.5},
        {"max_bytes": True},
        {"window": 0},
        {"window": 65},
        {"window": True},
        {"rotate_after": 0},
        {"rotate_after": -1},
        {"rotate_after": True},
        {"rotate_after": 1.5},
        {"rotate_after": 10**30},
        {"rotate_after": ""},
        {"rotate_after": "5000"},
        {"rotate_after": "10 B"},
        {"rotate_after": "0 MB"},
        {"rotate_after": "-1 MB"},
        {"rotate_after": "1e3 MB"},
        {"rotate_after": "10 MB\n"},
        {"rotate_after": ("10", "MB")},
        {"bandwidth": 0},
        {"bandwidth": 1000.5},
        {"bandwidth": "20 kB"},
        {"before_record": "redact"},
        {"redact": "pin"},
        {"redact": 1},
        {"redact": ("pin", 7)},
        {"redact": ("pin", "")},
        {"redact": ("_2",)},
        {"max_per_minute": 0},
        {"max_per_minute": 1.5},
        {"max_per_minute": True},
        {"max_per_minute": "60"},
        {"max_per_minute": {"exception": 0}},
        {"max_per_minute": {"exception": "60"}},
        {"max_per_minute": {"state": 60}},
        {"max_per_minute": {3: 60}},
        {"sample": 0.5},
        {"sample": {"moved": 1.5}},
        {"sample": {"moved": -0.1}},
        {"sample": {"moved": float("nan")}},
        {"sample": {"moved": True}},
        {"sample": {"moved": "half"}},
        {"sample": {"": 0.5}},
        {"sample": {3: 0.5}},
        {"environment": "yes"},
        {"on_status": "show"},
        {"recording": 0},
        {"end_on_signals": 15},
        {"end_on_signals": ("TERM",)},
        {"end_on_signals": (15, 999)},
        {"end_on_signals": (0,)},
        {"end_on_signals": (9,)},
        {"disabled": "yes"},
        {"product": ""},
        {"product": 3},
        {"version": " "},
        {"hostname": 3},
        {"machine_id": ""},
        {"spool_dir": 3},
        {"spool_dir": "a\0b"},
        {"verify": "a\0"},
        {"cert": ("/a", "b\0")},
    ],
    ids=repr,
)
def test_an_invalid_option_is_refused_by_name(options):
    with pytest.raises(InvalidSettings) as caught:
        settings.resolve(**options)
    assert list(options)[0] in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0.5},
        {"connect_wait": 0.0},
        {"durability": "power"},
        {"verify": False},
        {"verify": "/etc/ca.pem"},
        {"cert": ("/a", "/b")},
        {"trust_env": False},
        {"stamp_late": False},
        {"max_bytes": 4096},
        {"before_record": len},
        {"redact": False},
        {"redact": (u"iban", u"pin")},
        {"environment": True},
        {"end_on_signals": (15, 2)},
        {"disabled": True},
        {"hostname": u"h\xf6st"},
        {"machine_id": "m"},
        {"deadline": 3.0},
    ],
    ids=repr,
)
def test_a_valid_option_is_kept_as_given(options):
    for name, value in options.items():
        assert getattr(settings.resolve(**options), name) == value


@pytest.mark.parametrize(
    "given, records, size",
    [
        (1, 1, None),
        (5000, 5000, None),
        ("10 MB", None, 10**7),
        (u"10 MB", None, 10**7),
        ("1.5MB", None, 1500000),
        ("64 kB", None, 64000),
        ("64 KiB", None, 65536),
        ("1 mib", None, 1024**2),
        ("2 GB", None, 2 * 10**9),
        ("1 GiB", None, 1024**3),
    ],
)
def test_rotate_after_is_a_number_of_records_or_a_size_with_its_unit(given, records, size):
    endless = float("inf")
    made = settings.resolve(rotate_after=given).rotate_after
    assert made == (records or endless, size or endless)


@pytest.mark.parametrize(
    "given, exception, event, metric",
    [
        (5, 5, 5, 5),
        ({}, 60, None, None),
        ({"event": 600}, 60, 600, None),
        ({u"exception": None, "metric": 1}, None, None, 1),
    ],
)
def test_max_per_minute_is_for_all_kinds_or_by_kind(given, exception, event, metric):
    made = settings.resolve(max_per_minute=given).max_per_minute
    assert dict(made) == {"exception": exception, "event": event, "metric": metric}


def test_sample_is_a_share_by_name():
    made = settings.resolve(sample={"moved": 0.01, "b": 1, "a": 0})
    assert made.sample == (("a", 0.0), ("b", 1.0), ("moved", 0.01))
    assert hash(made) == hash(settings.resolve(sample={"moved": 0.01, "b": 1, "a": 0}))


def test_a_wrong_size_is_told_what_a_right_one_looks_like():
    with pytest.raises(InvalidSettings, match="records such as 5000, or a size such as '10 MB'"):
        settings.resolve(rotate_after="10 megabytes")


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize(
    "option",
    (
        ["timeout", "deadline", "connect_wait", "max_bytes", "window", "rotate_after"]
        + ["aggregate_seconds", "max_per_minute"]
    ),
)
def test_a_number_that_nothing_can_count_to_is_refused_by_name(option, digits):
    """With 5,000 digits it cannot even be written (since Python 3.11)."""
    with pytest.raises(InvalidSettings, match=option):
        settings.resolve(**{option: 10**digits})


@pytest.mark.parametrize(
    "proxies, says",
    [
        ({"https": 3}, "URL for u?'https' in proxies.* text, not int"),
        ({"https": None}, "URL for u?'https' in proxies.* text, not NoneType"),
        ({3: "http://proxy:3128"}, "key 3 in proxies.* text, not int"),
        ({"https": ""}, "URL for u?'https' in proxies.* not be empty"),
    ],
)
def test_a_wrong_proxy_is_told_by_its_key(proxies, says):
    with pytest.raises(InvalidSettings, match=says):
        settings.resolve(proxies=proxies)


@pytest.mark.skipif(os.name != "posix", reason="a working directory cannot be deleted")
@pytest.mark.parametrize("option", ["spool_dir", "verify", "cert"])
def test_a_relative_path_without_a_working_directory_is_refused(option, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InvalidSettings, match="%s is the relative path .* absolute" % option):
        settings.resolve(**{option: "here"})
    absolute = str(tmp_path / "there")
    assert getattr(settings.resolve(**{option: absolute}), option) == absolute
    monkeypatch.setenv("DATACAT_SPOOL_DIR", "here")
    with pytest.raises(InvalidSettings, match="spool_dir is the relative path .* absolute"):
        settings.resolve()


@pytest.mark.skipif(os.name != "posix", reason="a working directory cannot be deleted")
def test_without_a_working_directory_the_product_still_has_a_name(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(sys, "argv", [os.path.join("editor", "__main__.py")])
    assert settings.resolve().product == u"editor"
    monkeypatch.setattr(sys, "argv", ["__main__.py"])
    assert settings.resolve().product == u"python"


def test_a_path_that_the_system_cannot_write_is_refused():
    with pytest.raises(InvalidSettings, match="spool_dir"):
        settings.resolve(spool_dir=u"a\ud800\0" if six.PY2 else u"a\ud800")


@pytest.mark.skipif(six.PY2, reason="Python 2.7 has no pathlib")
def test_paths_may_be_path_objects():
    import pathlib

    made = settings.resolve(spool_dir=pathlib.Path("/var/cats"), verify=pathlib.Path("/ca.pem"))
    assert (made.spool_dir, made.verify) == ("/var/cats", "/ca.pem")


@pytest.mark.parametrize("option", ["spool_dir", "verify", "cert"])
def test_a_relative_path_keeps_its_meaning_when_the_working_directory_changes(
    option, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    made = settings.resolve(**{option: os.path.join("a", "path")})
    assert getattr(made, option) == str(tmp_path / "a" / "path")


def test_a_relative_folder_from_the_environment_keeps_its_meaning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATACAT_SPOOL_DIR", "spool")
    assert settings.resolve().spool_dir == str(tmp_path / "spool")


@pytest.mark.skipif(six.PY2, reason="Python 2.7 has paths of bytes")
@pytest.mark.parametrize("option", ["spool_dir", "verify", "cert"])
def test_a_path_of_bytes_is_refused_at_once(option):
    with pytest.raises(InvalidSettings, match="%s must be a path as text" % option):
        settings.resolve(**{option: b"/tmp/spool"})


def test_an_unknown_option_raises_a_type_error_that_names_it():
    with pytest.raises(TypeError) as caught:
        settings.resolve(timout=3)
    assert "timout" in str(caught.value)


def test_none_means_the_default():
    assert settings.resolve(None, timeout=None, verify=None) == settings.resolve()


def test_settings_are_immutable():
    made = settings.resolve()
    with pytest.raises(AttributeError):
        made.timeout = 3
    with pytest.raises(AttributeError):
        made.invented = 3
    with pytest.raises(AttributeError):
        del made.timeout
    assert made.timeout == 10.0


def test_changing_a_dict_that_was_passed_in_does_not_change_the_settings():
    proxies = {"http": "http://proxy:3128"}
    made = settings.resolve(proxies=proxies)
    proxies["http"] = "http://evil"
    assert dict(made.proxies) == {"http": "http://proxy:3128"}


def test_settings_are_equal_and_hashable_by_value():
    one = settings.resolve("http://cats:80/", timeout=3, proxies={"http": "http://p"})
    two = settings.resolve("HTTP://cats", timeout=3.0, proxies={"http": "http://p"})
    other = settings.resolve("http://cats", timeout=4, proxies={"http": "http://p"})
    assert one == two and hash(one) == hash(two) and not one != two
    assert one != other
    assert {one: 1}[two] == 1
    assert one != "text"


@pytest.mark.parametrize(
    "name, value, is_shared_setting",
    [
        ("version", "2", False),
        ("hostname", "here", False),
        ("machine_id", "m", False),
        ("connect_wait", 7.0, False),
        ("aggregate_seconds", 7.0, False),
        ("before_record", len, False),
        ("redact", ("pin",), False),
        ("max_per_minute", 7, False),
        ("sample", {"moved": 0.5}, False),
        ("environment", True, False),
        ("end_on_signals", (15,), False),
        ("base_url", "http://dogs", True),
        ("product", "till", True),
        ("api_key", "k", True),
        ("spool_dir", "elsewhere", True),
        ("durability", "power", True),
        ("timeout", 7.0, True),
        ("verify", False, True),
        ("max_bytes", 7, True),
        ("window", 7, True),
        ("rotate_after", 7, True),
    ],
)
def test_sessions_share_a_pipeline_unless_a_shared_setting_differs(name, value, is_shared_setting):
    one = settings.resolve("http://cats", product="shop")
    options = {"base_url": "http://cats", "product": "shop"}
    options[name] = value
    other = settings.resolve(**options)
    assert (one.shared() != other.shared()) is is_shared_setting
    assert other.shared() == other.shared() and other.shared().base_url == other.base_url


@pytest.mark.parametrize(
    "wrong, right",
    [("spooldir", "spool_dir"), ("apikey", "api_key"), ("Timeout", "timeout"), ("zzz", None)],
)
def test_an_unknown_option_names_the_one_that_was_meant(wrong, right):
    with pytest.raises(TypeError) as caught:
        settings.resolve(**{wrong: 1})
    message = str(caught.value)
    assert wrong in message and "the options are" in message
    assert ("did you mean %r" % right in message) if right else "did you mean" not in message


@pytest.mark.skipif(six.PY2, reason="paths are bytes on Python 2")
def test_a_path_in_bytes_is_refused_by_name():
    with pytest.raises(InvalidSettings) as caught:
        settings.resolve(spool_dir=b"/tmp/x")
    assert "spool_dir must be a path as text" in str(caught.value)
