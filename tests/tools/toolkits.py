"""Toolkits for windows, which few machines have: tests that need one are skipped without it.

With TOOLKITS=required in the environment, as `nox -s gui` sets it, they fail instead.
"""

from __future__ import absolute_import, division

import os
import subprocess
import sys

import pytest

from tools.process import environment

IS_REQUIRED = os.environ.get("TOOLKITS") == "required"


def need(what, program):
    """Skip a test, or fail if toolkits are required, unless a program works here.

    :param program: a Python program that needs the toolkit and nothing else.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output = child.communicate()[0].decode("utf-8", "replace")
    if child.returncode:
        (pytest.fail if IS_REQUIRED else pytest.skip)("%s does not work here: %s" % (what, output))
