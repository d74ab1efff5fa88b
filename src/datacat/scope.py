"""What marks the outboxes of one application: its server and product, and the machine.

Belongs here: telling machines apart.  Does not: names of files, and which file systems machines
may share (see `outbox`).
"""

from __future__ import absolute_import, division

import collections
import sys

import six

_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_WINDOWS_KEY = "SOFTWARE\\Microsoft\\Cryptography"
_LENGTH = 12

# Three times 12 hexadecimal characters.  key: of server and product; machine: of the machine;
# older: what datacat 0.2 had as key, of server, product and host name.
Scope = collections.namedtuple("Scope", "key machine older")


def of(settings):
    """Return the Scope of some Settings.

    Only processes with the same key may have each other's outboxes.
    """
    whole = (settings.base_url, settings.product)
    return Scope(
        key=_hash(u"datacat", *whole),
        machine=_hash(u"datacat machine", settings.machine or machine_name()),
        older=_hash(*(whole + (_host_name(),))),
    )


def machine_name():
    """Return what tells this machine from others: the system's id of it, or else its host name.

    The sources are machine-id(5) on Linux, MachineGuid on Windows, gethostuuid(2) on macOS.
    """
    if sys.platform == "win32":
        found = _windows_guid()
    elif sys.platform == "darwin":
        found = _macos_uuid()
    else:
        found = _first_line(_FILES)
    return found or _host_name()


# Imported late: hashlib and socket together take a third of `import datacat`.


def _host_name():
    import socket

    return six.ensure_text(socket.gethostname(), errors="replace")


def _first_line(paths):
    for path in paths:
        try:
            with open(path, "rb") as stream:
                line = stream.readline(100).decode("ascii", "replace").strip()
        except EnvironmentError:
            continue
        # An image of a system that has not booted yet says "uninitialized".
        if line and line != u"uninitialized":
            return line
    return None


def _windows_guid():
    from six.moves import winreg

    try:
        access = winreg.KEY_READ | winreg.KEY_WOW64_64KEY
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _WINDOWS_KEY, 0, access) as key:
            return six.text_type(winreg.QueryValueEx(key, "MachineGuid")[0])
    except EnvironmentError:
        return None


def _macos_uuid():
    import ctypes

    uuid, no_wait = (ctypes.c_ubyte * 16)(), (ctypes.c_long * 2)(0, 0)
    try:
        if ctypes.CDLL(None).gethostuuid(uuid, no_wait) != 0:
            return None
    except (AttributeError, OSError):
        return None
    return u"".join(u"%02x" % byte for byte in uuid)


def _hash(*parts):
    import hashlib

    whole = u"\n".join(six.ensure_text(part) for part in parts)
    return hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()[:_LENGTH]
