"""Secrets in records: where they can be, and what is recorded in their place.

Belongs here: walking a record's fields.  Does not: which keys name a secret (see `secret_keys`),
and how secrets look in texts (see `secret_texts`).
"""

from __future__ import absolute_import, division

import json

import six

from . import kinds, secret_texts
from .secret_keys import LOWER, SEPARATORS, SecretKeys
from .secret_texts import REDACTED

_KEYS_AND_VALUES = (u"labels", u"tags")


class Secrets(object):
    """Hides the values of secret keys, and the secrets in texts.  Immutable.

    :param more: words of the application's for keys (texts), besides those of the list.
    """

    def __init__(self, more=()):
        keys = SecretKeys(more)
        self._names_secret = keys.has
        self._needles = keys.needles

    def may_be_in(self, body):
        """Return whether a secret may be in a JSON text (bytes of ASCII); False is certain."""
        # `find` and not `in`, which takes twice as long with bytes.
        return max(map(body.translate(LOWER, SEPARATORS).find, self._needles)) >= 0

    def hidden(self, kind, fields):
        """Return a copy of a record's fields without secrets.

        :param fields: a dict of plain values.
        """
        if kind == kinds.STATE:
            return self._dict(fields)
        # The names of a record's own fields are no keys of the application's.
        return dict((name, self._field(name, value)) for name, value in fields.items())

    def _field(self, name, value):
        if name in _KEYS_AND_VALUES and isinstance(value, list):
            return [self._tag(each) for each in value]
        return self._value(value)

    def _tag(self, tag):
        key, colon, value = tag.partition(u":")
        if value and self._names_secret(key):
            return key + colon + REDACTED
        return self.text(tag)

    def _value(self, value):
        if isinstance(value, six.text_type):
            return self.text(value)
        if isinstance(value, dict):
            return self._dict(value)
        return self._list(value) if isinstance(value, list) else value

    def _dict(self, fields):
        return dict((self.text(key), self._value_of(key, value)) for key, value in fields.items())

    def _value_of(self, key, value):
        # None is no secret, and deletes a key of a state.
        if value is not None and self._names_secret(key):
            return REDACTED
        return self._value(value)

    def _list(self, values):
        """Hide values that follow their keys, as in ["--password", "x"] and ["cookie", "x"]."""
        hidden, is_pair, key = [], len(values) == 2, None
        for value in values:
            hidden.append(self._value(value) if key is None else self._value_of(key, value))
            is_key = isinstance(value, six.text_type) and (is_pair or value.startswith(u"-"))
            key = value if is_key else None
        return hidden

    def text(self, text):
        """Return a text without secrets."""
        if not self.may_be_in(json.dumps(text).encode("ascii")):
            return text
        return secret_texts.hidden(text, self._names_secret)
