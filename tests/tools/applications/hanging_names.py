"""trial_application.py with a name service that hangs: options `name` and `hangs` (seconds).

The first look-up of the name hangs and fails; later ones find 127.0.0.1.
"""

from __future__ import absolute_import, division

import json
import socket
import sys
import time

from tools.applications import trial_application


class HangingNames(object):
    """Stands in for socket.getaddrinfo."""

    def __init__(self, name, seconds):
        self._name = name
        self._seconds = seconds
        self._hung = False
        self._look_up = socket.getaddrinfo

    def __call__(self, host, *arguments, **options):
        if host not in (self._name, self._name.encode("ascii")):
            return self._look_up(host, *arguments, **options)
        if not self._hung:
            self._hung = True
            trial_application.say("HANGS", 1)
            time.sleep(self._seconds)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._look_up("127.0.0.1", *arguments, **options)


def main(accepted, url, writer, text):
    settings = json.loads(text)
    options = settings["options"]
    socket.getaddrinfo = HangingNames(options.pop("name"), options.pop("hangs"))
    trial_application.main(accepted, url, writer, json.dumps(settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
