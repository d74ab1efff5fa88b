"""The seed's examples, word for word, and old programs, against both generations."""

from __future__ import absolute_import, division

import io
import os
import re

import pytest
from tools import held
from tools.application import APPLICATIONS, Application
from tools.process import TESTS

SEED = os.path.join(TESTS, "data", "SEED.md")
SEEDS_URL = u"http://localhost:8080"

# Names that an example needs.  The loop runs once, because it sleeps for five seconds.
GIVEN = {
    "heartbeat": u"""
rounds = [True]
class Running(object):
    def __nonzero__(self):
        return bool(rounds) and rounds.pop()
    __bool__ = __nonzero__
running = Running()
worked = []
def do_work():
    worked.append(1)
""",
    "exception": u"""
def risky_operation():
    return {}["no such key"]
""",
}
AFTERWARDS = {
    "heartbeat": u"assert worked == [1]\n",
    "client": u"print(session_data['id'])\nprint(len(session_data['events']))\n",
}
# However busy the machine is, the server's id and all records come in time, and no disk counts as
# slow.
UNHURRIED = u"""
import six
from datacat import Session, settings
from datacat.outbox import disk
from datacat.process import shutdown
disk.SLOW_SECONDS = shutdown.EXIT_SECONDS = 600
six.get_unbound_function(Session.get_details).__defaults__ = (600,)
settings._DEFAULTS = tuple(
    (name, 600 if name == "connect_wait" else value) for name, value in settings._DEFAULTS
)
"""
EXAMPLES = ("basic", "exception", "heartbeat", "client")


def examples_of_the_seed():
    """Return {name: code} of the seed's examples, in order."""
    with io.open(SEED, encoding="utf-8") as stream:
        blocks = re.findall(u"```python\n(.*?)```", stream.read(), re.DOTALL)
    return dict(zip(EXAMPLES, blocks))


def program_of(name):
    """Return an example as a program, with Python 3's print, for the same output everywhere."""
    code = examples_of_the_seed()[name].replace(SEEDS_URL, u"URL")
    assert u'"URL"' in code
    given = u"from __future__ import print_function\nimport os\nURL = os.environ['URL']\n"
    given += UNHURRIED
    code = code.replace(u'"URL"', u"URL")
    return given + GIVEN.get(name, u"") + code + AFTERWARDS.get(name, u"")


class Runs(object):
    """All examples, run at the same time against one collector."""

    def __init__(self, folder, collector):
        self.collector = collector
        self._programs = {}
        for name in EXAMPLES:
            own = folder / name
            own.mkdir()
            self._programs[name] = Application(
                program_of(name),
                own,
                env={
                    "URL": collector.url,
                    "DATACAT_PRODUCT": "seed-" + name,
                    "DATACAT_SPOOL_DIR": str(own / "spool"),
                },
            ).start()

    def output(self, name):
        """Wait for an example's end; return what it printed."""
        self._programs[name].wait()
        return self._programs[name].output

    def session(self, name):
        """Return an example's only session, as the server has it."""
        self.output(name)
        if name in ("basic", "client"):
            found = re.search("[0-9a-f]{8}-[0-9a-f-]{27}", self.output(name))
            return self.collector.session(found.group(0))
        marks = {"exception": "exception", "heartbeat": None}
        known = [self.session(other)["id"] for other in ("basic", "client")]
        others = [each for each in self.collector.sessions() if each["id"] not in known]
        return [
            each
            for each in map(self._whole, others)
            if (held.names(each) or [None])[0] == marks[name]
        ][0]

    def _whole(self, listed):
        return self.collector.session(listed["id"])

    def end(self):
        """End the examples that still run."""
        for program in self._programs.values():
            program.__exit__()


@pytest.fixture(scope="module")
def all_runs(collector, classic_collector, tmp_path_factory):
    """All examples against both generations, at the same time, because one of them sleeps."""
    made = {
        "v1": Runs(tmp_path_factory.mktemp("v1"), collector),
        "classic": Runs(tmp_path_factory.mktemp("classic"), classic_collector),
    }
    yield made
    for each in made.values():
        each.end()


@pytest.fixture(params=["v1", "classic"])
def runs(request, all_runs):
    """The examples against each generation."""
    return all_runs[request.param]


def test_all_of_the_seeds_examples_are_here():
    code = examples_of_the_seed()
    assert len(code) == 4
    for name, words in (
        ("basic", "window_state"),
        ("exception", "risky_operation()"),
        ("heartbeat", "while running:"),
        ("client", "DatacatClient("),
    ):
        assert words in code[name]


def test_basic_usage_prints_the_servers_id_and_all_of_it_arrives(runs):
    session = runs.session("basic")
    assert runs.output("basic") == "Session ID: %s\n" % session["id"]
    assert held.names(session) == ["user_action"]
    assert session["events"][0]["data"] == {"action": "click", "button": "submit"}
    assert [(each["name"], each["value"], each["tags"]) for each in session["metrics"]] == [
        ("memory_usage", 1024.5, ["app:myapp"])
    ]
    assert held.is_ended(session)


def test_basic_usage_merges_nested_state(runs):
    state = runs.session("basic")["state"]
    assert state["window_state"] == {"open": ["w1", "w2", "w3"], "active": "w1"}
    assert (state["status"], state["version"]) == ("running", "1.0.0")


def test_exception_logging_keeps_type_message_traceback_and_the_extra_data(runs):
    session = runs.session("exception")
    data = session["events"][0]["data"]
    assert (data["type"], data["message"]) == ("KeyError", "'no such key'")
    assert "in risky_operation" in data["traceback"]
    assert data["context"] == "user_action"


def test_a_script_that_does_not_end_its_session_is_ended_at_its_exit(runs):
    assert held.is_ended(runs.session("exception"))


def test_heartbeat_monitoring_of_a_loop_that_beats_logs_nothing(runs):
    session = runs.session("heartbeat")
    assert held.names(session) == []
    assert held.is_ended(session)


def test_the_lower_level_client_reads_what_it_has_just_written(runs):
    session = runs.session("client")
    assert runs.output("client") == session["id"] + "\n1\n"
    assert session["events"][0]["data"] == {"user": "alice"}
    assert session["metrics"][0]["tags"] == ["app:myapp"]
    assert session["state"]["status"] == "running"
    assert held.is_ended(session)


@pytest.mark.parametrize("name", ["old_session.py", "old_client.py"])
def test_an_old_program_runs_unchanged(name, any_collector, run_program):
    """It was written for the first client: no arguments, no waiting, reads at once."""
    path = os.path.join(APPLICATIONS, name)
    run = UNHURRIED + u"import runpy\nrunpy.run_path(%r, run_name='__main__')\n" % path
    program = run_program(run, any_collector.url)
    program.wait()
    session_id = program.output.split()[-1]
    assert "all is well" in program.output
    session = any_collector.session(session_id)
    assert held.numbers(session) == list(range(10))
    assert held.is_ended(session)
