"""Cutting plain values to size, with markers that say how much is gone.

Belongs here: what is kept of texts and containers.  Does not: what is too large, and converting.
"""

from __future__ import absolute_import, division

import six


def cut(value, longest, keys_kept=()):
    """Return a plain value with long texts and large containers cut, each with a marker.

    :param longest: how many characters a text keeps (int); a container keeps a sixteenth as many
        items.
    :param keys_kept: the keys to keep first in a dict.
    """
    widest = max(longest // 16, len(keys_kept))
    if isinstance(value, six.text_type):
        return _cut_text(value, longest)
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: item[0] not in keys_kept)
        kept = dict(
            (_cut_text(key, longest), cut(element, longest, keys_kept))
            for key, element in items[:widest]
        )
        if len(items) > widest:
            kept[u"<cut>"] = u"<%d more>" % (len(items) - widest)
        return kept
    if isinstance(value, list):
        kept = [cut(element, longest, keys_kept) for element in value[:widest]]
        return kept + [u"<%d more>" % (len(value) - widest)] if len(value) > widest else kept
    return value


def _cut_text(text, longest):
    # A traceback matters most at its end, a message at its beginning: keep both.
    if len(text) <= longest:
        return text
    half = longest // 2
    return u"%s<%d characters cut>%s" % (text[:half], len(text) - 2 * half, text[-half:])
