"""Which keys name a secret: those that end with a word of a list.

Belongs here: the list, the rule, and the fast search that finds most records without any secret.
Does not: what becomes of a secret.
"""

from __future__ import absolute_import, division

import json
import re

import six

WORDS = (
    "password passwords passwd passphrase pwd secret secrets secret_key token api_key api_keys "
    "access_key private_key auth authorization cookie cookies credential credentials bearer"
)
# A shorter word must be one by itself, so that `auth` is not found in `coauth`.
_SHORTEST_ANYWHERE = 5
# Two ASCII letters between which a word begins: fooBar, HTTPServer.
_HUMPS = u"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
_SEPARATORS = u" !#$%&'()*+,-./:;<=>?[]^_`{|}~"
_breaks = re.compile(u"[%s]+|%s" % (re.escape(_SEPARATORS), _HUMPS))
_NUMBERS = u"0123456789"

# For `bytes.translate`, in one pass over a record's JSON: capitals become small, separators go.
LOWER = bytes(bytearray(range(256))).lower()
SEPARATORS = _SEPARATORS.encode("ascii")
# Whatever the words are: a URL with a password has one.
_USERINFO = b"@"
# All that can be said of a character beyond ASCII is that JSON escapes it.
_ESCAPE = b"\\u"


def normal(key):
    """Return a key in small letters, with `_` where a word begins, without a number at its end.

    :param key: a text, such as "X-Api-Key" or "apiKey2".
    :returns: such as "x_api_key" or "api_key"; "" if there is no more to it than separators.
    """
    return _breaks.sub(u"_", key).strip(u"_").lower().rstrip(_NUMBERS + u"_")


class SecretKeys(object):
    """Knows which keys name a secret.  Immutable.

    :param more: words of the application's (texts), besides those of the list.
    :ivar needles: at least one of these (bytes) is in any JSON with a key that names a secret, or
        a URL with a password, once it has passed through `LOWER` without `SEPARATORS`.
    """

    def __init__(self, more=()):
        joined = set(normal(word).replace(u"_", u"") for word in WORDS.split() + list(more))
        self._long = tuple(word for word in joined if len(word) >= _SHORTEST_ANYWHERE)
        self._short = tuple(u"_" + word for word in joined if len(word) < _SHORTEST_ANYWHERE)
        needles = set(_needle(word) for word in joined) | set([_USERINFO])
        self.needles = tuple(
            sorted(
                each for each in needles if not any(_is_inside(other, each) for other in needles)
            )
        )

    def has(self, key):
        """Return whether a key names a secret.

        :param key: a text.
        """
        parts = normal(key)
        return parts.replace(u"_", u"").endswith(self._long) or (u"_" + parts).endswith(
            self._short
        )


def _needle(word):
    try:
        word.encode("ascii")
    except UnicodeError:
        return _ESCAPE
    return six.ensure_binary(json.dumps(word))[1:-1]


def _is_inside(part, whole):
    return part != whole and part in whole
