"""Gives setup.cfg the version, and the pip of Python 2.7 a file that it can install in place.

setuptools for 2.7 would import the whole package for `attr:`, before what it needs is installed.
"""

import re

from setuptools import setup

with open("src/datacat/_version.py") as stream:
    VERSION = re.search(r'^__version__ = "(.+)"$', stream.read(), re.MULTILINE).group(1)

setup(version=VERSION)
