"""Every check of this project, a session each: `nox --list` names them, `nox` runs the quick one.

Belongs here: what is run and in which environment. Does not: what a new machine needs (.ci/run),
the tools' own settings (pyproject.toml, setup.cfg).

Environments are reused: pip brings them up to date each time. What CI checks starts from none.
"""

import configparser
import contextlib
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

import nox

nox.needs_version = ">=2026.4"
nox.options.sessions = ["quick"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.download_python = "never"

CURRENT = "%d.%d" % sys.version_info[:2]
OTHER_PYTHONS = ["2.7", "3.8", "3.13"]
PYTHONS = OTHER_PYTHONS + [CURRENT] * (CURRENT not in OTHER_PYTHONS)
# The oldest Python that runs the server in the tests, and that nox knows.
OLDEST_FOR_SERVER = (3, 9)

# What .ci/run runs, in this file's order; after it, `coverage`.
CI = ["ci"]
# In percent, of the client's lines and branches; child processes are not measured.
COVERAGE_FLOOR = 93.0

# pyright comes with its own node: both need the package registry alone.
TYPE_CHECKERS = ["mypy==2.4.1", "pyright[nodejs]==1.1.414"]

FAST = ["tests/records", "tests/outbox", "tests/wire", "tests/sending"] + [
    "tests/test_%s.py" % name for name in ("client", "errors", "imports", "settings", "stubs")
]
OF_THE_CLIENT = FAST + ["tests/process", "tests/test_session.py"]

os.environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
os.environ["PIP_NO_PYTHON_VERSION_WARNING"] = "1"
for name in list(os.environ):
    if name.startswith("DATACAT_") or name in ("PYTHONPATH", "PYTHONHOME"):
        del os.environ[name]


def find_python(version):
    """Return a Python's path: pyenv's newest of that version, else the one on PATH, or None."""
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    found = glob.glob(os.path.join(root, "versions", version + ".*", "bin", "python"))
    if found:
        return max(found, key=lambda path: [int(number) for number in re.findall(r"\d+", path)])
    return shutil.which("python" + version)


def per_python(name, versions):
    """Make a session of a function (session, version), one for each version."""

    def register(function):
        for version in versions:
            add_session(name, version, function)
        return function

    return register


def add_session(name, version, function):
    old = tuple(map(int, version.split("."))) < OLDEST_FOR_SERVER
    python = None if old or version == CURRENT else find_python(version) or version

    # On the current Python, CI runs the tests as `coverage`.
    @nox.session(
        name="%s-%s" % (name, version), python=python, tags=[] if version == CURRENT else CI
    )
    def session_of_one_python(session):
        function(session, version, make_old_environment(session, version) if old else "python")

    session_of_one_python.__doc__ = function.__doc__


def make_old_environment(session, version):
    """Return the path of an old Python, in an environment of its own.

    nox cannot make it: 20.21 is the last virtualenv that knows Python 2.7. The session's own
    environment, of the current Python, makes it (and in tests runs the server).
    """
    python = find_python(version)
    if python is None:
        session.error("Python %s is missing: neither pyenv nor PATH has it" % version)
    session.install("virtualenv<20.22")
    folder = os.path.join(session.virtualenv.location, "python" + version)
    session.run("virtualenv", "--quiet", "--no-periodic-update", "--python", python, folder)
    return os.path.join(folder, "bin", "python")


def install(session, python, *what):
    session.run(python, "-m", "pip", "install", "--quiet", *what, external=True)


def pytest(session, python, *arguments, under=()):
    if python != "python":
        session.install("-e", ".[collector]")
    env = {
        # For the server, where the tests' Python is too old to run it.
        "DATACAT_COLLECTOR_PYTHON": os.path.join(session.bin, "python"),
        "HYPOTHESIS_STORAGE_DIRECTORY": os.path.join(session.virtualenv.location, "hypothesis"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [*under, python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    session.run(*command, *arguments, env=env, external=True)


@contextlib.contextmanager
def source_copy():
    """A copy of what is packed: no build folder of an earlier day gets into a wheel."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("pyproject.toml", "setup.cfg", "setup.py", "MANIFEST.in", "README.md"):
            shutil.copy(name, folder)
        shutil.copy("LICENSE", folder)
        ignored = shutil.ignore_patterns("*.egg-info", "__pycache__")
        shutil.copytree("src", os.path.join(folder, "src"), ignore=ignored)
        yield folder


def install_wheel(session, python, extra=""):
    with source_copy() as source:
        command = ["python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", source]
        session.run(*command, source)
        install_built(session, python, source, extra)


def install_built(session, python, folder, extra=""):
    (wheel,) = glob.glob(os.path.join(folder, "datacat_client-*-py2.py3-none-any.whl"))
    require_stubs(session, wheel)
    require_page(session, wheel)
    # The version is the same as yesterday's.
    install(session, python, "--force-reinstall", "--no-deps", wheel)
    install(session, python, wheel + extra)


def require_stubs(session, wheel):
    """Fail unless a wheel has every stub, and the mark that makes type checkers read them."""
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    names = glob.glob("**/*.pyi", root_dir="src", recursive=True) + ["datacat/py.typed"]
    missing = sorted(set(name.replace(os.sep, "/") for name in names) - packed)
    if missing:
        session.error("the wheel lacks %s: see package_data in setup.cfg" % ", ".join(missing))


def require_page(session, wheel):
    """Fail unless the page for PyPI is README.md, and no link on it needs a file beside it."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        page = archive.read(name).decode("utf-8")
    links = re.findall(r"\]\(((?!https?:|#)[^)]+)\)", page)
    if links or "# datacat" not in page:
        session.error(
            "the page for PyPI is not README.md, or has links that lead nowhere: %s" % links
        )


def readme_command(start):
    """Return README.md's one line that installs and then runs a command with this start."""
    with open("README.md", encoding="utf-8") as readme:
        found = re.findall(r"^pip install .* && %s.*$" % re.escape(start), readme.read(), re.M)
    if len(found) != 1:
        raise ValueError(
            "README.md needs one line 'pip install ... && %s', has %s" % (start, found)
        )
    return found[0]


def run_shell(session, command, **env):
    session.log("$ %s", command)
    session.run("bash", "-euo", "pipefail", "-c", command, env=env, external=True)


def lint_tools():
    """Return the pinned versions of ruff and Black, which pre-commit's configuration holds."""
    with open(".pre-commit-config.yaml", encoding="utf-8") as config:
        return re.findall(r"\b(?:ruff|black)==[\w.]+", config.read())


def check_style(session):
    session.run("ruff", "check", "--quiet", ".")
    session.run("black", "--check", "--quiet", ".")


@nox.session(venv_backend="none", tags=CI)
def pythons(session):
    """All Pythons that the other sessions need are there."""
    for version in PYTHONS:
        python = sys.executable if version == CURRENT else find_python(version)
        if python is None:
            session.error("Python %s is missing: neither pyenv nor PATH has it" % version)
        session.log("Python %s: %s", version, python)


@nox.session(tags=CI)
def lint(session):
    """ruff, Black, the direction of imports, and the picture in docs/architecture.md."""
    session.install("-e", ".", "pytest", "pytest-xdist", "hypothesis", *lint_tools())
    check_style(session)
    pytest(session, "python", "tests/test_imports.py", "tests/test_architecture.py")


@per_python("packages", OTHER_PYTHONS)
def packages(session, version, python):
    """It can be installed in place and as a wheel, and starts."""
    with source_copy() as source:
        install(session, python, "-e", source)
        session.run(python, "-m", "datacat", "--version", external=True)
        remove = ("-m", "pip", "uninstall", "--quiet", "--yes", "datacat-client")
        session.run(python, *remove, external=True)
    install_wheel(session, python)
    session.run(os.path.join(os.path.dirname(python), "datacat"), "--version", external=True)


@nox.session(tags=CI)
def types(session):
    """The stubs, by mypy and pyright, in a wheel that is made of the source distribution."""
    session.install("build", *TYPE_CHECKERS)
    with source_copy() as source:
        session.run("python", "-m", "build", "--outdir", source, source, silent=True)
        install_built(session, "python", source)
    session.run("python", "tests/annotated/check.py")
    session.run("python", "tests/annotated/sample.py", env={"DATACAT_DISABLED": "1"}, silent=True)


@nox.session(tags=CI)
def demo(session):
    """The README's command for the demo."""
    run_shell(session, readme_command("python -m datacat demo"))


@nox.session(tags=CI)
def benchmarks(session):
    """The benchmarks in a small form: no count may be over its target."""
    session.install("-e", ".[collector]")
    session.run("python", "-m", "benchmarks", *(session.posargs or ["--small"]))


@per_python("tests", PYTHONS)
def tests(session, version, python):
    """All tests but the faults, on one Python; `-- ARGUMENTS` go to pytest."""
    install_wheel(session, python, "[test]")
    pytest(session, python, *(session.posargs or ["tests/"]))


@per_python("oldest", ["2.7", "3.8"])
def oldest(session, version, python):
    """The client's tests with the oldest versions that setup.cfg allows."""
    config = configparser.ConfigParser()
    config.read("setup.cfg")
    required = config["options"]["install_requires"].strip().splitlines()
    pins = [requirement.replace(">=", "==") for requirement in required]
    tools = ["pytest", "pytest-cov", "pytest-xdist", "freezegun", "hypothesis"]
    # It asks for a newer urllib3 than it needs.
    responses = [
        "responses==0.15.0",
        "mock; python_version < '3'",
        "cookies; python_version < '3'",
    ]
    install_wheel(session, python)
    install(session, python, *pins, *tools, "trustme; python_version >= '3'")
    install(session, python, "--no-deps", *responses)
    pytest(session, python, *(session.posargs or OF_THE_CLIENT))


@nox.session(tags=CI)
def faults(session):
    """The fault suite in its short form; `-- --long` for the long one."""
    session.install("-e", ".[test]")
    pytest(session, "python", "tests/faults", *session.posargs)


@nox.session(name="faults-3.13", python=find_python("3.13") or "3.13", tags=CI)
def faults_where_no_thread_starts_at_exit(session):
    """The interruptions on Python 3.13: since 3.12, no thread can be started at exit."""
    session.install("-e", ".[test]")
    pytest(session, "python", "tests/faults/test_interruptions.py", *session.posargs)


@nox.session
def gui(session):
    """Tk and Qt, with each of its bindings; needs xvfb-run, for Tk's display."""
    session.install("-e", ".[test]", "PySide6-Essentials", "PyQt6", "PyQt5")
    session.env["TOOLKITS"] = "required"
    display = ("xvfb-run", "--auto-servernum")
    tests = ["tests/integrations/test_tk.py", "tests/integrations/test_qt.py"]
    pytest(session, "python", *(session.posargs or tests), under=display)


@nox.session
def coverage(session):
    """The README's command for the tests, on the current Python; enough must be covered."""
    floor = "--cov-fail-under=%s" % COVERAGE_FLOOR
    run_shell(session, readme_command("python -m pytest"), PYTEST_ADDOPTS=floor)


@nox.session
def quick(session):
    """Lint and the fast tests, within a minute."""
    session.install("-e", ".[test]", *lint_tools())
    check_style(session)
    pytest(session, "python", *(session.posargs or FAST + ["--ignore-glob=*_machine.py"]))


@nox.session
def busy(session):
    """The tests while all cores are busy otherwise: none may fail for want of time."""
    session.install("-e", ".[test]")
    # It ends with its parent, however that ends.
    hog = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
    hogs = [subprocess.Popen([sys.executable, "-c", hog]) for _ in range(os.cpu_count())]
    try:
        pytest(session, "python", *(session.posargs or ["tests/"]))
    finally:
        for each in hogs:
            each.kill()
            each.wait()
