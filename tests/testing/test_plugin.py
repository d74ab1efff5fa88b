"""The pytest plugin as an application's tests use it: pytest is run, in a process of its own."""

from __future__ import absolute_import, division

import os
import re
import socket
import sys
import textwrap

import pytest
from tools.collector_process import collector_python
from tools.process import ChildProcess, environment
from tools.waiting import PATIENCE, wait_until

from datacat.testing import server


class Run(object):
    """What came of a run of pytest."""

    def __init__(self, code, output):
        self.code = code
        self.output = output

    def assert_outcomes(self, **wanted):
        """Assert how many tests passed, failed, were skipped, had errors."""
        counted = re.findall(r"(\d+) (passed|failed|skipped|error)", self.output.splitlines()[-1])
        assert dict((word, int(count)) for count, word in counted) == wanted, self.output


@pytest.fixture
def run_tests(tmp_path):
    """Runs pytest with the plugin: run_tests(source of a test file, *arguments, **environment)."""

    def run(source, *arguments, **env):
        (tmp_path / "test_application.py").write_text(textwrap.dedent(source))
        changes = {
            "DATACAT_COLLECTOR_PYTHON": collector_python(),
            "HOME": str(tmp_path / "home"),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        changes.update(env)
        child_env = environment(changes)
        for name in list(child_env):
            # Of the run that this test is part of.
            if name.startswith(("PYTEST_", "XDG_", "COV_CORE_")) and name not in changes:
                del child_env[name]
        command = [sys.executable, "-m", "pytest", "-p", "pytest_datacat", "-rs"]
        command += ["-p", "no:cacheprovider"] + list(arguments)
        child = ChildProcess(command, child_env, cwd=str(tmp_path))
        try:
            return Run(child.wait(PATIENCE), child.output)
        finally:
            child.close()

    return run


def is_listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        return True
    except socket.error:
        return False


SESSION = u"""
    import sys

    def test_datacat_is_not_loaded_before_a_fixture_is_used():
        assert not [name for name in sys.modules if name.split(".")[0] == "datacat"]

    def test_each_test_has_a_session_of_its_own(datacat_session):
        datacat_session.log_event("saved", {"path": "a.txt"})
        datacat_session.assert_logged("saved", path="a.txt")

    def test_it_is_empty_at_first(datacat_session):
        assert datacat_session.events == [] and datacat_session.state == {}

    def test_a_difference(datacat_session):
        datacat_session.log_event("saved", {"path": "a.txt"})
        datacat_session.assert_logged("saved", path="b.txt")
"""


def test_a_session_for_each_test_and_readable_failures_in_xdists_workers_too(run_tests, tmp_path):
    run = run_tests(SESSION, "-p", "xdist.plugin", "-n", "1")
    run.assert_outcomes(passed=3, failed=1)
    assert textwrap.dedent(u"""\
        E           {
        E         -   "path": "b.txt"
        E         +   "path": "a.txt"
        E           }""") in textwrap.dedent(run.output)
    assert "__tracebackhide__" not in run.output, "it shows the plugin's own code"
    files = [name for name in os.listdir(str(tmp_path)) if name != "__pycache__"]
    assert files == ["test_application.py"]


SERVER = u"""
    import datetime
    import os

    import freezegun
    import pytest
    import requests
    import responses

    import datacat

    @pytest.fixture
    def session(datacat_server):
        assert datacat_server.sessions() == []
        with datacat.create_session(connect_wait=60) as session:
            yield session

    def arrived(session, server):
        assert session.flush(60)
        (there,) = server.sessions()
        assert there["id"] == session.session_id
        return there["events"]

    def test_what_is_logged_arrives_at_the_server(session, datacat_server):
        session.log_event("e", {"x": 1})
        assert arrived(session, datacat_server)[0]["data"] == {"x": 1}
        assert os.environ["DATACAT_URL"] == datacat_server.url

    def test_also_over_a_bad_network(datacat_server, flaky_network):
        network = flaky_network(datacat_server, delay=0.001)
        with datacat.create_session(network.url, connect_wait=60) as session:
            session.log_event("e")
            assert arrived(session, datacat_server)[0]["name"] == "e"

    def test_beside_freezegun(datacat_server, datacat_session):
        with freezegun.freeze_time("2020-02-02"):
            datacat_session.log_event("e", {"when": datetime.datetime.now()})
            with datacat.create_session(connect_wait=60) as session:
                session.log_event("e")
                (event,) = arrived(session, datacat_server)
        datacat_session.assert_logged("e", when="2020-02-02T00:00:00")
        assert event["timestamp"].startswith("2020-02-02T00:00:00")

    @responses.activate
    def test_beside_responses(session, datacat_server, datacat_session):
        responses.add_passthru(datacat_server.url)
        responses.add("GET", "http://example.org/", body="hello")
        session.log_event("e", {"body": requests.get("http://example.org/").text})
        datacat_session.log_event("e")
        assert arrived(session, datacat_server)[0]["data"] == {"body": "hello"}
        assert len(responses.calls) == 1
"""


def test_a_server_and_a_bad_network_beside_other_libraries(run_tests, tmp_path):
    run = run_tests(SERVER, DATACAT_DISABLED="1", DATACAT_API_KEY="key")
    run.assert_outcomes(passed=4)
    assert not os.path.exists(str(tmp_path / "home")), "outboxes are in the user's own folder"


NEEDS_SERVER = u"""
    def test_one(datacat_server):
        assert datacat_server.url

    def test_two(datacat_server):
        assert datacat_server.url

    def test_three(datacat_session):
        assert datacat_session
"""


def test_without_the_extra_tests_are_skipped_with_what_to_install(run_tests, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "waitress.py").write_text(u"raise ImportError('no waitress')")
    path = os.pathsep.join([str(blocked), environment()["PYTHONPATH"]])
    run = run_tests(NEEDS_SERVER, PYTHONPATH=path)
    run.assert_outcomes(passed=1, skipped=2)
    assert "pip install 'datacat-client[collector]'" in run.output


def test_on_an_old_python_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.delenv("DATACAT_COLLECTOR_PYTHON", raising=False)
    monkeypatch.setattr(sys, "version_info", (3, 8, 1))
    with pytest.raises(server.CannotRun) as caught:
        server.Collector(str(tmp_path))
    assert "needs Python 3.9 or newer and this is 3.8" in str(caught.value)
    assert "datacat-client[collector]" in str(caught.value)


def test_a_server_that_should_run_and_does_not_is_an_error(monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text(u"#!/bin/sh\necho a broken interpreter >&2\nexit 1\n")
    python.chmod(0o700)
    monkeypatch.setenv("DATACAT_COLLECTOR_PYTHON", str(python))
    with pytest.raises(RuntimeError) as caught:
        server.Collector(str(tmp_path))
    assert "a broken interpreter" in str(caught.value)


LEAVING = u"""
    import os

    def test_leaving(datacat_server):
        with open("url", "w") as stream:
            stream.write(datacat_server.url)
        os._exit(7)
"""


def test_the_server_ends_with_the_process_that_started_it(run_tests, tmp_path):
    assert run_tests(LEAVING).code == 7
    port = int((tmp_path / "url").read_text().rsplit(":")[-1])
    wait_until(lambda: not is_listening(port))


def test_a_program_that_has_imported_datacat_is_not_warned_by_pytest(tmp_path):
    """pytest rewrites all packages of a distribution with a plugin, and warns if it cannot."""
    installed = tmp_path / "datacat_client-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(u"Name: datacat-client\nVersion: 1\n")
    (installed / "RECORD").write_text(u"datacat/__init__.py,,\n")
    (installed / "entry_points.txt").write_text(u"[pytest11]\npytest_datacat=pytest_datacat\n")
    (tmp_path / "test_application.py").write_text(u"def test_it(datacat_session):\n    pass\n")
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    child_env = environment({"PYTHONPATH": path})
    child_env.pop("PYTEST_DISABLE_PLUGIN_AUTOLOAD", None)
    code = "import datacat, pytest; pytest.main(['-p', 'no:cacheprovider', 'test_application.py'])"
    child = ChildProcess([sys.executable, "-c", code], child_env, cwd=str(tmp_path))
    try:
        child.wait(PATIENCE)
        assert "1 passed" in child.output and "rewritten" not in child.output
    finally:
        child.close()
