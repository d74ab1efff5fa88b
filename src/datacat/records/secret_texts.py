"""Secrets in texts: in messages, tracebacks, dumps of dicts, command lines and URLs.

Belongs here: how a key and its value look in a text.  Does not: which keys name a secret (see
`secret_keys`).

What is in doubt belongs to the secret: that a text says less is better than that it says too much.
Every pattern takes time in proportion to the text, whatever is in it.
"""

from __future__ import absolute_import, division

import re

REDACTED = u"[redacted]"

# In JSON inside a text, a quote has a backslash before it; in JSON inside of that, three.
_QUOTE = r"\\{0,7}[\"']"
# Before the quote of a Python literal.
_PREFIX = r"[bfruBFRU]{0,2}"
# (?=(?P<key>...))(?P=key) is ... without going back, which takes long in a long word.
# `key=`, `key: `, `"key": `, `["key"] = `, `"key", "value"` and `--key value`, up to the value.
_KEY = re.compile(
    r"""(?<![\w-])(?:
    --?(?=(?P<flag>\w[\w-]*))(?P=flag)[ \t]+(?=[^\s=:-])
    |(?=(?P<key>[\w-]+))(?P=key)(?:%(quote)s)?\]?
    (?:[ \t]*(?P<sign>=>|[=!:]?=|:(?!:))[ \t]*|(?<=["']),[ \t]*(?=%(prefix)s%(quote)s))
    )""" % {"quote": _QUOTE, "prefix": _PREFIX},
    re.VERBOSE | re.UNICODE,
)
# All up to the same quote, or else to the end of the line.
_QUOTED = re.compile(
    _PREFIX + r"""(?P<quote>\\{0,7}(?:\"{3}|'{3}|["']))(?:.*?(?=(?<!\\)(?P=quote))|[^\n]*)""",
    re.DOTALL,
)
_SCHEME = re.compile(r"(?:basic|bearer|digest|negotiate|token)[ \t]+(?=\S)", re.IGNORECASE)
# Behind a bare value: a space, or marks before a space or another key.
_END = re.compile(
    r"""\s|\Z|[\\"'&;,)\]}>]{1,6}(?:\s|\Z|[\w-]{1,100}["']?[ \t]*[=:])""", re.UNICODE
)
# HTTP headers whose values have spaces, commas and quotes.
_HEADER = re.compile(r"(?:authorization|cookie)\Z", re.IGNORECASE)
_STRINGS_AND_BRACKETS = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[\[\](){}]""")
_BEARER = re.compile(r"\b(bearer[ \t]+)(?!\[redacted\])[^\s\"'\\,;)\]}<>]+", re.IGNORECASE)
_USERINFO = re.compile(r"(://[^\s/:@\"'<>]*:)[^\s/\"'<>]+(?=@)")


def hidden(text, names_secret):
    """Return a text with `[redacted]` in place of its secrets.

    :param names_secret: a callable (key) that says whether a key names a secret.
    """
    text = _without_values(text, names_secret)
    text = _BEARER.sub(r"\1" + REDACTED, text)
    return _USERINFO.sub(r"\1" + REDACTED, text)


def _without_values(text, names_secret):
    parts, end, closings = [], 0, None
    for found in _KEY.finditer(text):
        if found.start() < end or not names_secret(found.group("flag") or found.group("key")):
            continue
        if closings is None:
            closings = _Closings(text)
        value = _value(text, found, closings)
        if value is not None:
            parts += [text[end : value[0]], REDACTED]
            end = value[1]
    return u"".join(parts) + text[end:]


def _value(text, found, closings):
    """Return where a value begins and ends, None if there is none.

    :param found: the match of its key.
    """
    start = found.end()
    quoted = _QUOTED.match(text, start)
    if quoted is not None:
        return quoted.end("quote"), quoted.end()
    if text.startswith(REDACTED, start):
        return None
    if text[start : start + 1] in (u"(", u"[", u"{"):
        return start, closings.after(start)
    if found.group("sign") == u":" and _HEADER.search(found.group("key")):
        return start, _end_of_header(text, found)
    scheme = _SCHEME.match(text, start)
    end = _END.search(text, start if scheme is None else scheme.end()).start()
    return (start, end) if end > start else None


def _end_of_header(text, found):
    """Return where a header's value ends: with its line, or with the quotes around both."""
    end = _end_of_line(text, found.end())
    before = text[max(0, found.start() - 1) : found.start()]
    if before in (u'"', u"'"):
        closing = text.find(before, found.end(), end)
        return end if closing < 0 else closing
    return end


def _end_of_line(text, start):
    end = text.find(u"\n", start)
    return len(text) if end < 0 else end


class _Closings(object):
    """Finds where brackets are closed; all of a text's at once, so that many cost no more."""

    def __init__(self, text):
        self._text = text
        self._closings = None

    def after(self, start):
        """Return the position after the bracket that closes one, or where its line ends."""
        if self._closings is None:
            self._closings = dict(self._pairs())
        return self._closings.get(start) or _end_of_line(self._text, start)

    def _pairs(self):
        opened = []
        for found in _STRINGS_AND_BRACKETS.finditer(self._text):
            if found.group() in u"([{":
                opened.append(found.start())
            elif found.group() in u")]}" and opened:
                yield opened.pop(), found.end()
