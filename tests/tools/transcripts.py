"""What real servers answered: the transcripts under tests/data."""

from __future__ import absolute_import, division

import io
import json
import os

FOLDER = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "transcripts"
)


def transcript(generation):
    """Return the exchanges with a real "classic" or "v1" server, in order (list of dicts)."""
    with io.open(os.path.join(FOLDER, generation + ".json"), encoding="utf-8") as stream:
        return json.load(stream)


def sessions(generation):
    """Return each answer to the GET of a session (text)."""
    return [
        exchange["answer"]
        for exchange in transcript(generation)
        if exchange["method"] == "GET" and exchange["answer"].startswith('{"id"')
    ]


def session_text(generation, path, last=False):
    """Return what a real server answered to the first or last GET of a session (text)."""
    answers = [
        exchange["answer"]
        for exchange in transcript(generation)
        if exchange["method"] == "GET" and exchange["path"] == path and exchange["status"] == 200
    ]
    return answers[-1 if last else 0]
