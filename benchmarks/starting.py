"""What a start costs: the import, a session without a server, and a whole run without one."""

from __future__ import absolute_import, division

import compileall
import os
import resource
import shutil
import socket
import subprocess
import sys
from timeit import default_timer

import datacat

from . import subjects
from .measuring import Row, compared, main, median, plain, ratio_of

FLOOR = "sqlite3, json, threading, uuid, logging"
_TIMED = (
    "from timeit import default_timer as clock; start = clock(); import %s; "
    "import sys; sys.stdout.write('%%.9f' %% (clock() - start))"
)


def import_rows(scale):
    """Return the rows of importing datacat and other libraries."""
    with subjects.folder() as path:
        environment = _with_compiled_datacat(path)
        ours, floors = [], []
        for _ in range(5 if scale.is_small else 41):
            floors.append([_import(FLOOR, environment)])
            ours.append([_import("datacat", environment)])
        measured = median([one for one, in ours])
        rows = [
            Row(
                "import datacat",
                measured * 1e3,
                "ms",
                "import " + FLOOR,
                median([one for one, in floors]) * 1e3,
                ratio_of(ours, floors),
                1.6,
            )
        ]
        for name in ("requests", "sentry_sdk", "posthog"):
            taken = [_import(name, environment) for _ in range(3 if scale.is_small else 11)]
            if None not in taken:
                rows.append(
                    compared(
                        "import datacat",
                        measured * 1e3,
                        "ms",
                        "import " + name,
                        median(taken) * 1e3,
                    )
                )
        return rows


def _with_compiled_datacat(path):
    """Return an environment with a compiled copy of datacat, as pip installs it."""
    package = os.path.dirname(os.path.abspath(datacat.__file__))
    # The collector needs Python 3, and is not imported.
    shutil.copytree(
        package, os.path.join(path, "datacat"), ignore=shutil.ignore_patterns("collector")
    )
    compileall.compile_dir(path, quiet=1)
    return dict(os.environ, PYTHONPATH=path)


def _import(names, environment):
    """Return the seconds that an import takes in a fresh process, or None if it fails."""
    child = subprocess.Popen(
        [sys.executable, "-c", _TIMED % names],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    printed, _ = child.communicate()
    return float(printed) if child.returncode == 0 else None


def away_rows(scale):
    """Return the rows of create_session without a server; requests is imported before."""
    repeated = 5 if scale.is_small else 30
    with subjects.session():
        refused = [_seconds_to_create(subjects.unused_url()) for _ in range(repeated)]
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(1)
    try:
        url = "http://127.0.0.1:%d" % silent.getsockname()[1]
        swallowed = [_seconds_to_create(url, connect_wait=0, timeout=0.2) for _ in range(repeated)]
    finally:
        silent.close()
    return [
        plain("create_session, connection refused", median(refused) * 1e3, "ms", 20),
        plain("create_session, black hole, connect_wait=0", median(swallowed) * 1e3, "ms", 20),
    ]


def _seconds_to_create(url, **options):
    start = default_timer()
    with subjects.session(url, **options):
        return default_timer() - start


_RUN = """
import datacat
session = datacat.create_session(%r, product="away", version="1", spool_dir=%r)
for number in range(5):
    session.log_event("step", {"number": number})
"""


def offline_rows(scale):
    """Return the row of a short run without a server, beside that of the import alone."""
    with subjects.folder() as path:
        environment = _with_compiled_datacat(path)
        ours, imports = [], []
        for number in range(5 if scale.is_small else 31):
            spool = os.path.join(path, "spool-%d" % number)
            imports.append([_cpu("import datacat", environment)])
            ours.append([_cpu(_RUN % (subjects.unused_url(), spool), environment)])
    return [
        Row(
            "a run of 5 events, connection refused: CPU",
            median([one for one, in ours]) * 1e3,
            "ms",
            "a run that imports datacat",
            median([one for one, in imports]) * 1e3,
            ratio_of(ours, imports),
            1.3,
        )
    ]


def _cpu(program, environment):
    """Return the user and system CPU seconds of a program in a fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE
    )
    _, complaints = child.communicate()
    if child.returncode:
        raise RuntimeError("a measured run failed: %r" % complaints)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


MEASURES = (import_rows, away_rows, offline_rows)

if __name__ == "__main__":
    main(MEASURES)
