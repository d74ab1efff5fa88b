"""Values cut to size keep what matters most (see also the tests of exceptions)."""

from __future__ import absolute_import, division

import collections

from datacat.records import cutting


def test_a_dict_that_is_too_wide_keeps_the_keys_that_matter():
    wide = collections.OrderedDict((u"k%d" % number, number) for number in range(100))
    wide[u"message"] = u"m"
    kept = cutting.cut(wide, 160, (u"message",))
    assert kept[u"message"] == u"m" and kept[u"<cut>"] == u"<91 more>" and len(kept) == 11
