"""Python's log becomes events, and nothing that the handler leads to comes back into it."""

from __future__ import absolute_import, division

import logging
import logging.config
import os
import sys
import threading

import pytest
import six
from tools import held
from tools.waiting import PATIENCE

import datacat
from datacat.integrations.logging import DatacatHandler

# Takes away the time limit of the exit, which a busy machine would pass.
PROGRAM = u"""
import logging, logging.config, os, sys, threading
from datacat.process import shutdown
from datacat.integrations.logging import DatacatHandler
from tools.waiting import PATIENCE
shutdown.EXIT_SECONDS = PATIENCE
"""


@pytest.fixture
def session(collector, open_session):
    return open_session(collector.url)


@pytest.fixture
def make_logger():
    """Makes a logger with a DatacatHandler, and takes the handler off again."""
    made = []

    def make(name="app", **options):
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        handler = DatacatHandler(**options)
        logger.addHandler(handler)
        made.append((logger, handler))
        return logger

    yield make
    for logger, handler in made:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET if logger.name != "root" else logging.WARNING)
        logger.propagate = True


class Filter(object):
    """A filter that every Python takes: since 3.2 it may be a function, too."""

    def __init__(self, is_wanted):
        self.filter = is_wanted


def events(session):
    there = session.get_details(PATIENCE)
    return [each for each in there["events"] or () if each["name"] in held.names(there)]


def messages(session):
    return [event["message"] for event in events(session)]


def test_a_log_record_becomes_an_event_with_all_that_it_says(session, make_logger):
    make_logger("app.db", session=session).warning("slow: %d s", 3, extra={"query": "q1"})
    (event,) = events(session)
    assert (event["name"], event["category"], event["group"]) == ("log", "warning", "app.db")
    assert event["message"] == "slow: 3 s" and event["data"] == {"query": "q1"}
    assert os.path.basename(event["source_file"]).startswith("test_logging_handler.py")
    assert event["source_function"] == sys._getframe().f_code.co_name and event["source_line"] > 1


def test_classic_servers_get_all_of_it_in_data(classic_collector, open_session, make_logger):
    session = open_session(classic_collector.url)
    log = make_logger(session=session)
    log.error("e")
    try:
        raise ValueError("v")
    except ValueError:
        log.critical("failed", exc_info=True)
    event, failure = [each["data"] for each in events(session)]
    assert (event["_message"], event["_category"], event["_group"]) == ("e", "error", "app")
    assert event["_source_function"] and event["_source_line"] and event["_source_file"]
    assert (failure["_message"], failure["_category"]) == ("failed", "critical")


def test_an_exception_becomes_an_exceptions_record(session, make_logger):
    log = make_logger(session=session)
    log.error("none is being handled", exc_info=True)
    try:
        raise KeyError("k")
    except KeyError:
        log.warning("lost", exc_info=True, extra={"item": 7})
    line, failure = events(session)
    assert failure["name"] == "exception" and failure["exception_type"] == "KeyError"
    assert (failure["message"], failure["category"], failure["group"]) == (
        "lost",
        "warning",
        "app",
    )
    assert failure["data"]["item"] == 7 and failure["source_function"].startswith("test_an_exc")
    assert (line["name"], line["message"]) == ("log", "none is being handled")


def test_exceptions_can_be_left_out(session, make_logger):
    try:
        raise KeyError("k")
    except KeyError:
        make_logger(session=session, exceptions=False).exception("lost")
    assert [(each["name"], each["message"]) for each in events(session)] == [("log", "lost")]


def test_levels_loggers_and_filters_leave_records_out(session, make_logger):
    log = make_logger(name="", session=session, ignore=("noise", "urllib3"))
    log.handlers[-1].addFilter(Filter(lambda record: "secret" not in record.getMessage()))
    log.debug("d")
    log.info("secret")
    for name in ("noise", "noise.below", "urllib3.connectionpool"):
        logging.getLogger(name).error(name)
    logging.getLogger("noises").error("kept")
    log.info("kept, too")
    assert messages(session) == ["kept", "kept, too"]


def test_a_formatter_makes_the_text_without_the_traceback(session, make_logger):
    log = make_logger(session=session)
    log.handlers[-1].setFormatter(logging.Formatter("[%(name)s] %(message)s"))
    try:
        raise KeyError("k")
    except KeyError:
        log.exception("lost")
    assert messages(session) == ["[app] lost"]


def test_what_is_too_large_is_cut(session, make_logger):
    log = make_logger(session=session)
    log.info("x" * (2 << 20))
    log.info("y", extra={"much": "x" * (2 << 20)})
    first, second = events(session)
    assert first["message"].startswith("xxx") and first["message"].endswith("more>")
    assert second["message"] == "y" and "over the limit" in second["data"]["not_logged"]


@pytest.mark.parametrize("through", ["__str__", "formatter", "filter", "extra"])
def test_what_is_logged_while_a_record_is_made_follows_it_once(session, make_logger, through):
    log = make_logger(session=session)
    handler = log.handlers[-1]

    class Talkative(object):
        def __repr__(self):
            log.info("inner %s", through)
            return "outer"

    class TalkativeFormatter(logging.Formatter):
        def format(self, record):
            log.info("inner %s", through)
            return logging.Formatter.format(self, record)

    if through == "formatter":
        handler.setFormatter(TalkativeFormatter())
    elif through == "filter":
        handler.addFilter(Filter(lambda record: log.info("inner %s", through) or True))
    value = Talkative()
    if through == "extra":
        log.info("outer", extra={"value": value})
    else:
        log.info("%s", value if through == "__str__" else "outer")
    assert messages(session) == ["outer", "inner " + through]


def test_what_interrupts_the_handler_is_not_lost(session, make_logger):
    """Such as a signal handler; here it runs while a value is converted."""
    log = make_logger(session=session)

    class Interrupted(object):
        def __repr__(self):
            for number in range(3):
                log.info("interrupted %d", number)
            return "x"

    log.info("outer", extra={"value": Interrupted()})
    assert messages(session) == ["outer"] + ["interrupted %d" % number for number in range(3)]


def test_before_record_may_log(collector, open_session, make_logger):
    """Of a record of the handler's, that is left to other handlers: it would never end."""

    def before_record(kind, fields):
        log.info("saw %s", fields.get("message"))
        return fields

    log = logging.getLogger("app")
    session = open_session(collector.url, before_record=before_record)
    make_logger("app", session=session)
    log.info("one")
    session.log_event("e", message="two")
    assert messages(session) == ["one", "saw two", "two"]


def test_before_record_may_wait_for_a_thread_that_logs(collector, open_session, make_logger):
    def before_record(kind, fields):
        thread = threading.Thread(target=log_once)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        return fields

    def log_once():
        if not logged:
            logged.append(True)
            log.info("from the thread")

    logged = [True]
    session = open_session(collector.url, before_record=before_record)
    log = make_logger(session=session)
    del logged[:]
    log.info("one")
    assert sorted(messages(session)) == ["from the thread", "one"]


def test_what_the_librarys_own_threads_log_is_left_out(collector, open_session, make_logger):
    """Here `before_record`, of a hang: each record of theirs could lead to the next."""

    def before_record(kind, fields):
        if fields.get("name") == "application_appears_hung":
            log.info("seen by %s", threading.current_thread().name)
            seen.set()
        return fields

    seen = threading.Event()
    session = open_session(collector.url, before_record=before_record)
    log = make_logger(session=session)
    session.start_heartbeat_monitor(timeout=0.2, check_interval=0.1)
    assert seen.wait(PATIENCE)
    session.stop_heartbeat_monitor()
    assert "log" not in held.names(session.get_details(PATIENCE))


def test_what_a_record_cannot_say_is_told_by_logging_itself(session, make_logger, monkeypatch):
    errors = six.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    log = make_logger(session=session)
    log.info("%d", "no number")
    log.handle(logging.makeLogRecord({"msg": "made by hand", "levelno": 20}))
    assert messages(session) == ["made by hand"]
    assert "TypeError" in errors.getvalue()


def test_a_session_and_options_for_one_are_refused(session):
    with pytest.raises(datacat.InvalidArgument):
        DatacatHandler(session, url="http://127.0.0.1:9")
    with pytest.raises(datacat.InvalidArgument):
        DatacatHandler(session, product="p")


def test_closing_leaves_the_applications_session_alone(session, make_logger):
    log = make_logger(session=session)
    log.handlers[-1].close()
    log.info("after")
    assert session.get_details(PATIENCE)["active"] and messages(session) == ["after"]


def test_a_program_needs_nothing_but_dictconfig(fresh_collector, run_program):
    """Everything at DEBUG, urllib3 and the sender's thread too; and a log as late as can be."""
    program = run_program(
        PROGRAM + u"""
import atexit
def last_words():
    logging.info("last words")
logging.config.dictConfig({
    "version": 1,
    "handlers": {"datacat": {
        "class": "datacat.integrations.logging.DatacatHandler",
        "level": "DEBUG",
        "url": os.environ["DATACAT_URL"],
        "ignore": [],
    }},
    "root": {"level": "DEBUG", "handlers": ["datacat"]},
})
assert threading.active_count() == 1, "nothing runs before the first record"
logging.info("first")
atexit.register(last_words)
(handler,) = logging.getLogger().handlers
for number in range(20):
    logging.debug("step %d", number)
try:
    [][0]
except IndexError:
    logging.exception("failed")
""",
        fresh_collector.url,
    )
    program.wait()
    (listed,) = fresh_collector.sessions()
    there = fresh_collector.session(listed["id"])
    told = [each["message"] for each in there["events"] if each["name"] in ("log", "exception")]
    steps = ["step %d" % number for number in range(20)]
    assert told == ["first"] + steps + ["failed", "last words"]
    assert held.is_ended(there) and program.output == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_logs_too(fresh_collector, run_program):
    program = run_program(
        PROGRAM + u"""
import datacat
session = datacat.create_session(connect_wait=PATIENCE)
log = logging.getLogger()
log.setLevel(logging.INFO)
log.addHandler(DatacatHandler(session))
log.info("parent")
assert session.flush(PATIENCE)
child = os.fork()
if child == 0:
    log.info("child")
    assert session.flush(PATIENCE)
    logging.shutdown()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
log.info("parent again")
session.end(PATIENCE)
""",
        fresh_collector.url,
    )
    program.wait()
    (listed,) = fresh_collector.sessions()
    told = [each["message"] for each in fresh_collector.session(listed["id"])["events"]]
    assert told == ["parent", "child", "parent again"]


def test_loguru_may_have_the_handler_as_a_sink(session):
    """As loguru 0.7 calls it: a record of its own making, and `close` when it is removed."""
    handler = DatacatHandler(session)
    try:
        raise ValueError("v")
    except ValueError:
        exc_info = sys.exc_info()
    for given in (None, exc_info):
        record = logging.getLogger().makeRecord(
            "app", 25, __file__, 7, "text", (), given, "work", {"extra": {"user": "u"}}
        )
        record.levelname = "SUCCESS"
        handler.handle(record)
    handler.close()
    line, failure = events(session)
    assert (line["category"], line["message"], line["data"]) == ("success", "text", {"user": "u"})
    assert failure["exception_type"] == "ValueError" and failure["data"]["user"] == "u"


def test_loguru_itself(session):
    loguru = pytest.importorskip("loguru")
    number = loguru.logger.add(DatacatHandler(session), format="{message}", level="INFO")
    loguru.logger.bind(user="u").info("hello {}", "there")
    try:
        raise ValueError("v")
    except ValueError:
        loguru.logger.exception("failed")
    loguru.logger.remove(number)
    line, failure = events(session)
    assert (line["message"], line["data"]) == ("hello there", {"user": "u"})
    assert failure["exception_type"] == "ValueError" and failure["message"].startswith("failed")


def test_structlog_in_front(session, make_logger):
    structlog = pytest.importorskip("structlog")
    make_logger(session=session)
    wrap, render = structlog.stdlib.ProcessorFormatter.wrap_for_formatter, None
    render = structlog.stdlib.render_to_log_kwargs
    for last in (wrap, render):
        log = structlog.wrap_logger(
            logging.getLogger("app"),
            processors=[structlog.stdlib.add_log_level, last],
            wrapper_class=structlog.stdlib.BoundLogger,
        )
        log.info("paid", amount=3)
    for event in events(session):
        assert event["message"] == "paid" and event["data"]["amount"] == 3
    assert len(events(session)) == 2
