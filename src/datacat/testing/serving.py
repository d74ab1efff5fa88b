"""The collector's process in tests: it ends with the process that started it.

Belongs here: what runs in the child.  Does not: starting it (see `server`).
"""

from __future__ import absolute_import, division

import argparse
import os
import sys
import threading

from datacat import collector


def main():
    """Serve as `datacat serve` does, until stdin is closed; return the exit code."""
    watcher = threading.Thread(target=_end_with_parent)
    watcher.daemon = True
    watcher.start()
    parser = argparse.ArgumentParser()
    collector.add_arguments(parser)
    return collector.run(parser.parse_args())


def _end_with_parent():
    sys.stdin.read()
    # Nobody is left who could ask for what it has stored.
    os._exit(0)
