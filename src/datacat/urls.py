"""The server's URL, as it is kept and compared.

Belongs here: what a base URL may be, and its one normal form.  Does not: paths below it.
"""

from __future__ import absolute_import, division

import re

import six
from six.moves.urllib import parse

from . import checks
from .errors import InvalidSettings

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NOT_IN_A_URL = re.compile(u"[\\s\\\\\u0000-\u001f\u007f-\u009f]", re.UNICODE)
_SAFE_IN_A_PATH = "/%:@!$&'()*+,;=~-._"


def base_url(name, value):
    url = checks.text(name, value)
    if u"@" in url:
        raise InvalidSettings(
            "base_url contains a user name or password; pass the server's key as api_key= instead"
        )
    if u"?" in url or u"#" in url:
        raise InvalidSettings("base_url must end after the path: no query, no fragment")
    if _NOT_IN_A_URL.search(url):
        raise InvalidSettings(
            "base_url must not contain spaces, backslashes, line breaks or control characters: %r"
            % str(url.encode("unicode_escape").decode("ascii"))
        )
    try:
        parts = parse.urlsplit(url)
        port = parts.port
        host = _ascii_host(parts.hostname or u"")
    except ValueError as error:  # UnicodeError is one
        raise InvalidSettings("base_url %r cannot be read: %s" % (url, error))
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS or not host:
        raise InvalidSettings(
            "base_url must look like http://host:port or https://host, not %r" % url
        )
    if _port_text(parts.netloc) and not (port and 0 < port < 65536):
        raise InvalidSettings("base_url %r has a port that is not in 1..65535" % url)
    netloc = u"[%s]" % host if u":" in host else host
    if port and port != _DEFAULT_PORTS[scheme]:
        netloc += u":%d" % port
    path = parse.quote(parts.path.encode("utf-8"), safe=_SAFE_IN_A_PATH).rstrip("/")
    return u"%s://%s%s" % (scheme, netloc, six.ensure_text(path))


def _ascii_host(host):
    """Return a host name as requests sends it: by IDNA 2008, which keeps more than Python does."""
    try:
        host.encode("ascii")
    except UnicodeEncodeError:
        # Imported late: few servers have such a name.
        import idna

        return idna.encode(host, uts46=True).decode("ascii")
    # Checks the lengths of its parts.
    return host.encode("idna").decode("ascii")


def _port_text(netloc):
    return netloc.rpartition(u"]")[2].partition(u":")[2]
