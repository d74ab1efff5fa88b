"""Names for annotations in applications; at run time the values are plain Python's.

Belongs here: names that only type checkers know more about, in `annotations.pyi`.  Does not:
anything that the library uses itself.
"""

from __future__ import absolute_import


class Stats(dict):
    """What `Session.stats` returns, whose docstring says what each key is: a plain dict."""
