"""Which keys name secrets, how secrets look in texts, and that the fast search misses none."""

from __future__ import absolute_import, division

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datacat.records import exceptions, kinds
from datacat.records.redaction import Redaction
from datacat.records.secret_keys import WORDS, SecretKeys
from datacat.records.secrets import Secrets

KEYS = SecretKeys()
SECRETS = Secrets()

# -- keys


@pytest.mark.parametrize(
    "key",
    u"password Password PASSWORD db_password db-password dbPassword dbpassword PGPASSWORD "
    u"access_token accessToken X-Api-Key x_api_key apiKey APIKEY secret client_secret SECRET_KEY "
    u"Authorization Proxy-Authorization Cookie Set-Cookie aws_secret_access_key privateKey "
    u"credentials auth proxy_auth httpAuth HTTPAuth pwd MYSQL_PWD password2 new_password_1 "
    u"db.password user[password] user[password][] --password $password pass-word".split(),
)
def test_a_key_that_ends_with_a_word_of_the_list_names_a_secret(key):
    assert KEYS.has(key)


@pytest.mark.parametrize(
    "key",
    u"tokens_used max_tokens secretary author authority coauth cwd oldcwd passwords_changed "
    u"password_length is_secret_known monkey key api tokenizer cookie_count _ 7 -".split() + [u""],
)
def test_other_keys_do_not(key):
    assert not KEYS.has(key)


PARTS = st.lists(st.sampled_from(u"db my X user Http 2 \xe4 \" \\ @".split()), max_size=3)
SEPARATORS = st.sampled_from([u"", u"-", u"_", u".", u" ", u"__"])
CASES = st.sampled_from([u"lower", u"upper", u"title"])


@given(
    parts=PARTS,
    separator=SEPARATORS,
    word=st.sampled_from(
        [word.split("_") for word in WORDS.split() + [u"geheimz\xe4hler", u"pin"]]
    ),
    case=CASES,
    end=st.sampled_from([u"", u"2", u"_1", u"[]"]),
)
@example(parts=[u"my"], separator=u"", word=[u"auth"], case=u"title", end=u"")
def test_no_separator_case_or_number_hides_a_word(parts, separator, word, case, end):
    """And any record with such a key is looked at."""
    keys = SecretKeys((u"geheimz\xe4hler", u"PIN"))
    written = [getattr(each, case)() for each in word]
    key = separator.join(parts + written) + end
    is_short_and_glued = len(u"".join(word)) < 5 and parts and not separator
    assert keys.has(key) or is_short_and_glued
    body = json.dumps({key: "x"}).encode("ascii")
    assert Secrets((u"geheimz\xe4hler", u"PIN")).may_be_in(body)


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=20), st.sampled_from(WORDS.split()))
def test_a_key_that_names_a_secret_is_never_missed_by_the_fast_search(text, word):
    for key in (text, text + word, word + text):
        if KEYS.has(key):
            assert SECRETS.may_be_in(json.dumps({key: 1}).encode("ascii")), key


# -- texts


@pytest.mark.parametrize(
    "text, expected",
    [
        (u"password=x", u"password=[redacted]"),
        (u"password = x y", u"password = [redacted] y"),
        (u"a=1&access_token=x&b=2", u"a=1&access_token=[redacted]&b=2"),
        (u"Server=s;PWD=a,b&c;Port=1", u"Server=s;PWD=[redacted];Port=1"),
        (u"f(password='x y', host=h)", u"f(password='[redacted]', host=h)"),
        (u"f(host=h, password=x)", u"f(host=h, password=[redacted])"),
        (u"{'password': u'x', 'a': 1}", u"{'password': u'[redacted]', 'a': 1}"),
        (u"{b'password': b'x\\'y'}", u"{b'password': b'[redacted]'}"),
        (u'{"a":"b","password":"x"}', u'{"a":"b","password":"[redacted]"}'),
        (u'"{\\"secret\\": \\"x\\\\\\"y\\"}"', u'"{\\"secret\\": \\"[redacted]\\"}"'),
        (u"auth=('me', f(1, ')')), b=2", u"auth=[redacted], b=2"),
        (u'{"cookie": {"a": ["x"]}, "b": 1}', u'{"cookie": [redacted], "b": 1}'),
        (u'd["password"] = "x"', u'd["password"] = "[redacted]"'),
        (u"user[password]=x", u"user[password]=[redacted]"),
        (u"d.get('token', 'x')", u"d.get('token', '[redacted]')"),
        (u"run --password x -v", u"run --password [redacted] -v"),
        (u"run --password=x -v", u"run --password=[redacted] -v"),
        (u"run --password 'x y' -v", u"run --password '[redacted]' -v"),
        (u"['run', '--token', 'x', '-v']", u"['run', '--token', '[redacted]', '-v']"),
        (u"run --token --verbose", u"run --token --verbose"),
        (u"got Bearer x.y-z, why", u"got Bearer [redacted], why"),
        (u"Authorization: Basic x\nHost: h", u"Authorization: [redacted]\nHost: h"),
        (u'Cookie: a="b"; c=x\r\nA: b', u"Cookie: [redacted]\nA: b"),
        (u"curl -H 'Cookie: a=b; c=x' url", u"curl -H 'Cookie: [redacted]' url"),
        (u"X-Api-Key: x", u"X-Api-Key: [redacted]"),
        (u"postgres://me:x@host/db", u"postgres://me:[redacted]@host/db"),
        (u"redis://:x@y@host", u"redis://:[redacted]@host"),
        (u"if password == 'x':", u"if password == '[redacted]':"),
        (u"password => x", u"password => [redacted]"),
        (u"query: password=x", u"query: password=[redacted]"),
        (u"password='never closed\nnext", u"password='[redacted]\nnext"),
        (u"password=(never closed\nnext", u"password=[redacted]\nnext"),
        (u"password=", u"password="),
        (u"no secret: http://host:80/a@b, me@host", u"no secret: [redacted], me@host"),
        (u"Token::end tokens_used=3, secretary=x", u"Token::end tokens_used=3, secretary=x"),
        (u"http://host:80/a@b me@host", u"http://host:80/a@b me@host"),
        (u"the cookie jar", u"the cookie jar"),
    ],
)
def test_a_secret_in_a_text_is_hidden_and_what_is_around_it_stays(text, expected):
    assert SECRETS.text(text) == expected
    assert SECRETS.text(expected) == expected, "it is redacted once"


@given(
    st.text(u"ab\"'\\ \n;,=:{}()[]&-@/", max_size=20),
    st.sampled_from(
        [u"password=%s", u'"token": "%s"', u"--secret %s", u"://u:%s@h", u"bearer %s"]
    ),
    st.text(u"ab\"'\\ \n;,=:{}()[]&-@/", max_size=20),
)
def test_a_secret_is_hidden_whatever_stands_around_it(before, form, after):
    """Words apart, for `xpassword--secret` is one."""
    text = u"%s %s %s" % (before.replace(u"\\", u""), form % u"XyZ", after)
    assert u"XyZ" not in SECRETS.text(text)


# -- records


def test_only_keys_of_the_application_are_keys():
    secrets = Secrets((u"message", u"data", u"name"))
    event = {u"name": u"n", u"data": {u"name": u"x", u"a": 1}, u"message": u"m"}
    assert secrets.hidden(kinds.EVENT, event) == dict(
        event, data={u"name": u"[redacted]", u"a": 1}
    )
    assert secrets.hidden(kinds.STATE, {u"name": 1, u"a": None}) == {
        u"name": u"[redacted]",
        u"a": None,
    }


def test_a_record_without_secrets_stays_as_it_is():
    fields = {"name": "e", "data": {"tokens_used": 3, "list": [1, 2.5, None, True, u"\xe4\ud83d"]}}
    redact = Redaction(None, SECRETS)
    assert redact.body(kinds.EVENT, fields) == Redaction(None).body(kinds.EVENT, fields)


def test_what_is_cut_to_size_has_lost_its_secrets_before():
    """Otherwise the key may be in the part that is cut out, and the value in one that stays."""
    fields = exceptions.exception(ValueError(u"%s token='%s'" % (u"x" * 2**18, u"XyZ" * 2**16)))
    body = Redaction(None, SECRETS).body(kinds.EXCEPTION, fields, exceptions.encode_cut)
    assert len(body) <= 2**20 and b"XyZ" not in body and b"characters cut" in body


def test_a_record_over_the_limit_is_refused_with_secrets_or_without():
    for data in ({"a": "x" * 2**20}, {"token": 1, "a": "x" * 2**20}):
        with pytest.raises(exceptions.jsonable.InvalidArgument):
            Redaction(None, SECRETS).body(kinds.EVENT, {"name": "e", "data": data})
