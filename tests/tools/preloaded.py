"""Libraries of the tests, in C, that are loaded into an application before the C library."""

from __future__ import absolute_import, division

import os
import subprocess

import pytest

from tools.process import HERE


def compiled(source, folder):
    """Compile a file of this folder, and return the library's path; skip without a compiler."""
    library = os.path.join(str(folder), source + ".so")
    command = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", library]
    command += [os.path.join(HERE, source), "-ldl"]
    try:
        compiler = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        pytest.skip("%s needs a C compiler: %s" % (source, error))
    words = compiler.communicate()[0].decode("utf-8", "replace")
    assert compiler.returncode == 0, words
    return library
