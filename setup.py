"""Adds the version to setup.cfg; pip for Python 2.7 needs this file to install in place.

setuptools for 2.7 would import the whole package for `attr:`, before what it needs is installed.
"""

import re

from setuptools import setup

with open("src/datacat/_version.py") as stream:
    VERSION = re.search(r'^__version__ = "(.+)"$', stream.read(), re.MULTILINE).group(1)

setup(version=VERSION)
