"""Checks the stubs of the datacat that is installed, with mypy and pyright: `nox -s types`.

python tests/annotated/check.py

Belongs here: running type checkers on what is beside this file. Does not: what Python can tell of
the stubs by itself (tests/test_stubs.py).
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import datacat

HERE = pathlib.Path(__file__).resolve().parent
INSTALLED = pathlib.Path(datacat.__file__).parent
# Neither takes anything from a configuration file.
MYPY = ["mypy", "--strict", "--config-file=", "--cache-dir=" + os.devnull, "--output=json"]
PYRIGHT = ["pyright", "--outputjson", "--pythonpath", sys.executable]
EXPECTED = re.compile(r"  # ([a-z,-]+) ([A-Za-z,]+)$")


def run(command, **changes):
    """Run a Python module from this folder; return (exit code, what it printed)."""
    done = subprocess.run(
        [sys.executable, "-m"] + command,
        cwd=str(HERE),
        env=dict(os.environ, **changes),
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    return done.returncode, done.stdout


def found_by_mypy(files):
    """Return the errors in files, a set of (file's name, line, rule)."""
    _, printed = run(MYPY + files)
    told = [json.loads(line) for line in printed.splitlines()]
    return set(
        (pathlib.Path(each["file"]).name, each["line"], each["code"])
        for each in told
        if each["severity"] == "error"
    )


def found_by_pyright(files):
    """Return the same as `found_by_mypy`; pyright counts lines from 0."""
    _, printed = run(PYRIGHT + files)
    return set(
        (pathlib.Path(each["file"]).name, each["range"]["start"]["line"] + 1, each.get("rule"))
        for each in json.loads(printed)["generalDiagnostics"]
    )


def expected(files, place):
    """Return the errors that comments in the files announce: mypy's at place 1, pyright's at 2."""
    wanted = set()
    for name in files:
        for number, line in enumerate((HERE / name).read_text(encoding="utf-8").splitlines(), 1):
            match = EXPECTED.search(line)
            rules = match.group(place).split(",") if match else ()
            wanted.update((name, number, rule) for rule in rules if rule != "-")
    return wanted


def complaints():
    """Yield what is wrong, one line each."""
    files = ["sample.py", "mistakes.py"]
    for checker, find, place in (("mypy", found_by_mypy, 1), ("pyright", found_by_pyright, 2)):
        found, wanted = find(files), expected(files, place)
        print("%s: %d mistakes found" % (checker, len(found & wanted)))
        for error in sorted(found - wanted, key=str):
            yield "%s says %s:%s %s" % ((checker,) + error)
        for error in sorted(wanted - found, key=str):
            yield "%s does not say %s:%s %s" % ((checker,) + error)


def stubtest():
    """Compare stubs and modules; return the exit code.

    The stubs are copied to a folder of their own. mypy would take modules without one, which are
    not public, for their own stubs.
    """
    with tempfile.TemporaryDirectory() as folder:
        for stub in INSTALLED.rglob("*.pyi"):
            copy = pathlib.Path(folder, "datacat", stub.relative_to(INSTALLED))
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(stub.read_bytes())
        command = ["mypy.stubtest", "datacat", "--allowlist", "not_public.txt"]
        code, printed = run(command, MYPYPATH=folder)
        print("stubtest: %s" % printed.strip())
    return code


def main():
    print("datacat in %s" % INSTALLED)
    wrong = list(complaints())
    print("".join(line + "\n" for line in wrong), end="")
    return 1 if stubtest() or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
