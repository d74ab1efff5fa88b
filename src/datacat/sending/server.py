"""The server as the sender sees it: whether it is there, and its generation.

Belongs here: exchanges, and what they show about the server.  Does not: what it has of a session
(`looks`), the fate of records, outboxes, waiting.
"""

from __future__ import absolute_import, division

from .. import errors
from ..wire import answers, backoff, dialects, verdicts
from .allowance import Allowance
from .link import Link
from .metering import MeteredTransport
from .outage import Outage
from .pace import HEAD_BYTES, Pace

# Names of what is learned about a server.
BUSY_UNTIL = "busy until"
GENERATION = "generation"
# How often to look what other processes have learned.
OTHERS_SECONDS = 1.0
# A heartbeat as it is sent, about.
HEARTBEAT_BYTES = HEAD_BYTES + 2


class Server(object):
    """One server, and every exchange with it.

    :param transport: has `call(request, ...)`, `call_all(requests)` and `own_addresses()`.
    :param warn: a callable (topic, message) with `clear(topic)`.
    :param chance: a callable that returns a float in [0, 1).
    :param clock: a callable that returns monotonic seconds.
    :param wall: a callable that returns seconds since the epoch.
    :param learned: what is known of it, a Learned.
    :param allowance: what may go out to it, an Allowance; None: anything.
    :ivar transport: the same, or one that counts what goes out.
    :ivar allowance: the Allowance.
    :ivar is_paused: a callable that returns whether nothing may go out for now.
    :ivar link: the Link.
    :ivar outage: the Outage.
    :ivar pace: the Pace of the requests that `exchange` and `exchange_all` sent.
    :ivar dialect: the dialect of its generation, None while that is unknown.
    :ivar asked: whether it was asked for its health since it was last away.
    :ivar recognised: whether it answered that as a datacat server does.
    """

    def __init__(self, transport, warn, chance, clock, wall, learned, allowance=None):
        self.allowance = allowance = allowance or Allowance()
        if allowance.rate is not None:
            transport = MeteredTransport(transport, allowance, clock)
        self.is_paused = allowance.is_paused
        self.link = Link()
        self.outage = Outage()
        self.pace = Pace()
        self.dialect = None
        self.asked = False
        self.recognised = False
        self.transport = transport
        self._warn = warn
        self._chance = chance
        self._clock = clock
        self._wall = wall
        self._learned = learned
        self._next_look = 0.0
        self._begun = wall()

    # Whether it is there

    def exchange(self, request):
        """Return (answer, None) on success, or (None, the DatacatError)."""
        began = self._clock()
        answer, error = self._exchange(request)
        if error is None:
            self._note_pace([request], [], began)
            self.succeeded()
        return answer, error

    def _exchange(self, request):
        try:
            return answers.answer(request, self.transport.call(request)), None
        except errors.DatacatError as error:
            return None, error

    def exchange_all(self, requests, riders=(), reading=None):
        """Send requests back to back; return what became of them.

        :param riders: entries of sessions whose heartbeats go behind the requests.
        :param reading: a request that goes last and changes nothing, or None.
        :returns: (a list with None or the DatacatError of each request that was answered, then of
            each heartbeat, in order; the DatacatError of the first that was not, or None if those
            after the list certainly had no effect; the Response to `reading` or None).
        """
        began = self._clock()
        count = len(requests)
        requests = requests + self._heartbeats(riders)
        last = [] if reading is None else [reading]
        responses, error = self.transport.call_all(requests + last)
        response = responses.pop() if len(responses) > len(requests) else None
        problems = _problems(requests, responses)
        if problems and problems[:count][-1] is None:
            self._note_pace(requests[: min(count, len(problems))], problems[count:], began)
            self.succeeded()
        return problems, error, response

    def _note_pace(self, requests, beside, began):
        sizes = [len(request.body) for request in requests]
        self.pace.note(sizes, self._clock() - began, len(beside) * HEARTBEAT_BYTES)

    def failed(self, error):
        """Pause after a failure, and warn, once in an outage."""
        link = self.link
        now = self._clock()
        self.outage.failed()
        self.pace = Pace()
        link.failed(error, now, self._chance)
        if error.retry_after is not None:
            self._learned.note(BUSY_UNTIL, self._wall() + link.due - now)
        if not link.is_blip or isinstance(error, errors.UnexpectedAnswer):
            self.asked = False
        if verdicts.verdict(error) in (verdicts.REFUSED, verdicts.POISON):
            self._warn(
                "refused",
                "delivery is paused; the server, or something in front of it, answered: %s"
                % error,
            )
        else:
            self._warn("away", "server unavailable; records are kept: %s" % error)

    def succeeded(self):
        """Note that the server answered as a datacat server does."""
        if self.outage.is_on:
            self.outage.succeeded(self._clock())
        elif not self.link.ever_up:
            # An earlier sender may have been closed in the middle of an outage.
            self._allow_warnings()
        self.link.succeeded()

    def end_outage(self):
        """Say that an outage is over."""
        sent = self.outage.end()
        self._allow_warnings()
        self._warn(
            "back",
            "delivery has worked again for a minute; %d records were sent since the outage began"
            % sent,
        )
        self._warn.clear("back")

    def _allow_warnings(self):
        for topic in ("away", "refused"):
            self._warn.clear(topic)

    def pause(self, now, is_waiting):
        """Return how long to pause, or until the next look at this machine's addresses.

        :param is_waiting: whether there is a record that an earlier attempt would help.
        """
        link, allowed = self.link, self.allowance.due(now)
        if allowed > max(now, link.due):
            return allowed - now
        if not is_waiting:
            return link.due - now
        if now >= link.look_due:
            link.note_addresses(self.transport.own_addresses(), now)
        return max(0.0, min(link.due, link.look_due) - now)

    def speaks(self):
        """Return whether the server itself, and not something in front of it, answers."""
        try:
            return answers.is_own_health_answer(self.transport.call(dialects.health()))
        except errors.DatacatError:
            return False

    # Heartbeats

    def beat(self, entries, record_is_next):
        """Send heartbeats for sessions, one at least, back to back.

        :param record_is_next: whether a record is sent right after, which shows more.
        :returns: (how many were answered, whether others may get through).
        """
        problems, error = self._beats(self._heartbeats(entries))
        if error is None and None in problems:
            # A server that is too busy for records may still answer this.
            if not (record_is_next and self._is_busy):
                self.succeeded()
        return len(problems), self.heed_heartbeats(problems, error)

    def heed_heartbeats(self, problems, error):
        """Pause if what became of heartbeats would meet any other request too.

        :param problems: None or the DatacatError of each that was answered.
        :param error: the DatacatError of the first that was not, or None.
        :returns: whether others may get through.  They may if the server answers, even if it does
            not know heartbeats or these sessions.
        """
        failures = [each for each in problems + [error] if each is not None]
        telling = [each for each in failures if verdicts.would_meet_any_request(each)]
        if telling:
            self.failed(telling[0])
        return not telling

    def _heartbeats(self, entries):
        return [self.dialect.heartbeat(entry.server_id) for entry in entries]

    def _beats(self, requests):
        """Return what became of some, at least one, as `exchange_all` does.

        Of one only if there is no connection for more.
        """
        if len(requests) > 1:
            responses, error = self.transport.call_all(requests)
            if responses or error is not None:
                return _problems(requests, responses), error
        _, problem = self._exchange(requests[0])
        if problem is not None and verdicts.would_meet_any_request(problem):
            return [], problem
        return [problem], None

    @property
    def _is_busy(self):
        return bool(self.link.failures) and verdicts.verdict(self.link.last_error) == verdicts.BUSY

    def due(self, now):
        """Return when the server may be tried, also by what other processes were asked to wait."""
        if now >= self._next_look:
            self._heed_others(now)
        return max(self.link.due, self.allowance.due(now))

    def may_try(self, now):
        """Return whether it may be tried, by what is known."""
        return max(self.link.due, self.allowance.due(now)) <= now

    def _heed_others(self, now):
        self._next_look = now + OTHERS_SECONDS
        self._learned.refresh()
        # A new run tries by itself: what an earlier one was told may be absurd, or over.
        until = self._learned.number(BUSY_UNTIL, since=self._begun)
        seconds = (until or 0.0) - self._wall()
        # Longer than any server is obeyed: a clock was set.
        if self.link.due - now < seconds <= backoff.LONGEST_ASKED:
            self.link.obey(now + seconds)

    # Which generation it is

    @property
    def is_v1(self):
        """Whether it is known to be a v1 server."""
        return self.dialect is dialects.V1

    def ask(self):
        """Ask for its health, which only v1 answers; to be repeated after every outage."""
        try:
            response = self.transport.call(dialects.health())
        except errors.DatacatError as error:
            self.failed(error)
            return
        self._note_health(response)

    def ask_and_open(self, request):
        """Ask for its health and open a session, without waiting in between.

        :param request: that opens the session.
        :returns: what became of the open, as `exchange` does; (None, None) if it had no effect.
        """
        responses, error = self.transport.call_all([dialects.health(), request], connects=True)
        if responses:
            self._note_health(responses[0])
        if len(responses) < 2:
            return None, error
        try:
            answer = answers.answer(request, responses[1])
        except errors.DatacatError as problem:
            return None, problem
        self.succeeded()
        return answer, None

    def _note_health(self, response):
        self.asked = True
        self.dialect = answers.recognise_health(response)
        self.recognised = self.dialect is not None
        is_known_as_classic = self._learned.word(GENERATION) == dialects.CLASSIC.name
        if is_known_as_classic and answers.is_own_health_answer(response) and not self.recognised:
            # Such servers do not know the question.
            self.dialect = dialects.CLASSIC

    def recognise(self, dialect):
        """Note its generation, as one of its sessions shows it."""
        self.dialect = dialect
        self._learned.note(GENERATION, dialect.name)


def _problems(requests, responses):
    """Return what each response means to its request: the DatacatError, or None."""
    return [_problem(*pair) for pair in zip(requests, responses)]


def _problem(request, response):
    """Return the DatacatError that a response means, or None."""
    try:
        answers.answer(request, response)
    except errors.DatacatError as error:
        return error
    return None
