"""Adds to setup.cfg what has to be worked out: the version, and the page that PyPI shows.

setuptools for 2.7 would import the whole package for `attr:`, before what it needs is installed.
pip for Python 2.7 needs this file to install in place.
"""

import io
import re

from setuptools import setup

with io.open("src/datacat/_version.py", encoding="utf-8") as stream:
    VERSION = re.search(r'^__version__ = "(.+)"$', stream.read(), re.MULTILINE).group(1)

with io.open("README.md", encoding="utf-8") as stream:
    # PyPI shows this page alone: a link to a file beside it would lead nowhere.
    PAGE = re.sub(r"\[([^]]+)\]\((?!https?:|#)[^)]+\)", r"\1", stream.read())

setup(version=VERSION, long_description=PAGE)
