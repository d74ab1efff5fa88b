"""Every server answers every recorded request as the real server did."""

from __future__ import absolute_import, division

import io
import json
import os
import re

from asking import zipped

HERE = os.path.dirname(os.path.abspath(__file__))
TRANSCRIPTS = os.path.join(os.path.dirname(HERE), "data", "transcripts")
REQUESTS = 117
PLACEHOLDER = re.compile(r"\{(time|new|id2?)\}")
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d*[1-9])?(?:Z|[+-]\d\d:\d\d)"
ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def transcript(generation):
    with io.open(os.path.join(TRANSCRIPTS, generation + ".json"), encoding="utf-8") as stream:
        return json.load(stream)


class Replay(object):
    """Replays a transcript: an id is learnt where it first appears, and expected from then on."""

    def __init__(self, server):
        self._server = server
        self._ids = {}

    def difference(self, step):
        """Return the difference from the recording as text, or None."""
        answer = self._ask(step)
        text = answer.content.decode("utf-8")
        match = re.match(self._expected(step["answer"]) + r"\Z", text)
        got = answer.status_code, answer.headers.get("Content-Type"), bool(match)
        if match:
            self._ids.update(match.groupdict())
        if got == (step["status"], step["type"], True):
            return None
        return u"%s %s %s\n  recorded %d %s %s\n  answered %d %s %s" % (
            step["method"],
            step["path"],
            step["body"],
            step["status"],
            step["type"],
            step["answer"],
            answer.status_code,
            answer.headers.get("Content-Type"),
            text,
        )

    def _ask(self, step):
        path = PLACEHOLDER.sub(lambda found: self._ids[found.group(1)], step["path"])
        body = step["body"] if step["body"] is None else step["body"].encode("utf-8")
        if not step["gzip"]:
            return self._server.ask(step["method"], path, body)
        return self._server.ask(step["method"], path, zipped(body), {"Content-Encoding": "gzip"})

    def _expected(self, answer):
        pieces = PLACEHOLDER.split(answer)
        learnt = set()
        for position in range(1, len(pieces), 2):
            pieces[position] = self._pattern(pieces[position], learnt)
        pieces[::2] = [re.escape(piece) for piece in pieces[::2]]
        return u"".join(pieces)

    def _pattern(self, name, learnt):
        if name in self._ids:
            return re.escape(self._ids[name])
        if name in ("id", "id2"):
            assert name not in learnt, "an answer cannot teach an id twice"
            learnt.add(name)
            return "(?P<%s>%s)" % (name, ID)
        return {"time": TIME, "new": ID}[name]


def test_every_recorded_request_is_answered_as_recorded(server):
    """Status, content type and every byte are equal, except for ids and the server's times."""
    steps = transcript(server.generation)
    assert len(steps) == REQUESTS
    replay = Replay(server)
    differences = [replay.difference(step) for step in steps]
    assert [each for each in differences if each] == []
