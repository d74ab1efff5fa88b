"""Settings: validated once, immutable from then on.

Belongs here: which options there are, and reading them from arguments and environment.  Does not:
what a text, a path or a number may be (see `checks`), what they lead to, or reading anything at
import.
"""

from __future__ import absolute_import, division

import collections
import os
import re
import signal
import sys

import six

from . import checks, limits, notices, urls
from .checks import shown
from .errors import InvalidSettings

_NEVER_HANDLED = tuple(
    getattr(signal, name) for name in ("SIGKILL", "SIGSTOP") if hasattr(signal, name)
)

_DEFAULTS = (
    ("base_url", u"http://localhost:8080"),
    ("product", None),
    ("version", u"unknown"),
    ("api_key", None),
    ("hostname", None),
    ("machine_id", None),
    ("machine", None),
    ("spool_dir", None),
    ("durability", u"process"),
    ("connect_wait", 2.0),
    ("timeout", 10.0),
    ("deadline", 30.0),
    ("verify", True),
    ("cert", None),
    ("proxies", None),
    ("trust_env", True),
    ("stamp_late", True),
    ("fold_fields", True),
    ("max_bytes", 256 * 1024 * 1024),
    ("window", 64),
    ("rotate_after", None),
    ("aggregate_seconds", 5.0),
    ("environment", False),
    ("before_record", None),
    ("redact", True),
    ("max_per_minute", None),
    ("sample", None),
    ("bandwidth", None),
    ("on_status", None),
    ("recording", True),
    ("end_on_signals", ()),
    ("disabled", False),
)
_FIELDS = tuple(name for name, _ in _DEFAULTS)
# What concerns a single session, not how its records are kept and sent.
_OF_ONE_SESSION = tuple(
    (
        "version hostname machine_id connect_wait aggregate_seconds environment"
        " before_record redact max_per_minute sample on_status recording end_on_signals"
    ).split()
)
# What datacat's own newer client takes besides.
_WITHOUT_EFFECT = ("async_mode", "queue_size", "daemon_port")
_ENVIRONMENT = (
    ("base_url", "DATACAT_URL"),
    ("api_key", "DATACAT_API_KEY"),
    ("product", "DATACAT_PRODUCT"),
    ("version", "DATACAT_VERSION"),
    ("spool_dir", "DATACAT_SPOOL_DIR"),
    ("machine", "DATACAT_MACHINE"),
)
_CONTROL = re.compile(u"[\u0000-\u001f\u007f-\u009f]")
_SIZE = re.compile(u"([0-9]{1,9}(?:[.][0-9]{1,9})?) *([kmg])(i?)b\\Z", re.IGNORECASE)
_ENDLESS = float("inf")

# records and bytes: numbers, of which one may be infinite.
Amount = collections.namedtuple("Amount", "records bytes")


class Settings(object):
    """The options of one client or session. Made by `resolve`, immutable, thread-safe.

    Equal and hashable by value; `repr` shows neither the API key nor proxy credentials. `proxies`,
    `max_per_minute` and `sample` are tuples of sorted pairs.
    """

    __slots__ = _FIELDS + ("_is_product_given",)

    def __init__(self, is_product_given, **fields):
        object.__setattr__(self, "_is_product_given", is_product_given)
        for name in _FIELDS:
            object.__setattr__(self, name, fields[name])

    def __setattr__(self, name, value):
        raise AttributeError("settings cannot be changed; resolve new ones with %s=..." % name)

    def __delattr__(self, name):
        raise AttributeError("settings cannot be changed")

    def _values(self):
        return tuple(getattr(self, name) for name in _FIELDS)

    def __eq__(self, other):
        if not isinstance(other, Settings):
            return NotImplemented
        return self._values() == other._values()

    def __ne__(self, other):
        return not self == other

    def __hash__(self):
        return hash(self._values())

    def __repr__(self):
        shown = []
        for name, value in zip(_FIELDS, self._values()):
            secret = value is not None and name in ("api_key", "proxies")
            shown.append("%s=%s" % (name, "'***'" if secret else repr(value)))
        return "Settings(%s)" % ", ".join(shown)

    def shared(self):
        """Return the settings that sessions of one pipeline share.

        Options that concern a single session have their defaults.
        """
        fields = dict(zip(_FIELDS, self._values()))
        defaults = dict(_DEFAULTS)
        fields.update((name, defaults[name]) for name in _OF_ONE_SESSION)
        return Settings(self._is_product_given, **fields)

    def silenced(self):
        """Return these settings with `disabled=True`."""
        fields = dict(zip(_FIELDS, self._values()), disabled=True)
        return Settings(self._is_product_given, **fields)

    def given(self):
        """Return what the application, or its environment, called itself: a dict.

        With `product`, `version` and `hostname`, each only if it was given.
        """
        named = {"hostname": self.hostname, "version": self.version}
        if self._is_product_given:
            named["product"] = self.product
        defaults = dict(_DEFAULTS)
        return dict((name, said) for name, said in named.items() if said != defaults[name])


def resolve(base_url=None, **options):
    """Build `Settings` from arguments, then the environment, then defaults.

    An argument of None counts as not given, and so does an empty environment variable.

    :param base_url: the server's URL, such as `http://host[:port][/prefix]` (str).
    :param options: any other field of `Settings`; `async_mode`, `queue_size` and `daemon_port`
        are accepted and have no effect.
    :raises InvalidSettings: if a value cannot work; the message names the option and never shows a
        key.
    :raises TypeError: if an option does not exist.
    """
    _leave_out(_WITHOUT_EFFECT, options)
    for name in sorted(options):
        if name not in _FIELDS:
            raise TypeError(_unknown(name))
    fields = dict(_DEFAULTS)
    fields.update(_from_environment())
    options["base_url"] = base_url
    fields.update((name, value) for name, value in options.items() if value is not None)
    is_product_given = fields["product"] is not None
    if not is_product_given:
        fields["product"] = _main_program()
    checked = dict((name, _CHECKS[name](name, fields[name])) for name in _FIELDS)
    return Settings(is_product_given, **checked)


def _leave_out(names, options):
    given = [name for name in names if options.pop(name, None) is not None]
    if given:
        notices.inform_once(
            "not used, because every call is asynchronous here, and there is no daemon: %s"
            % ", ".join(name + "=" for name in given)
        )


def _unknown(name):
    # Imported late: only a mistake needs it.
    import difflib

    alike = difflib.get_close_matches(name, _FIELDS, 1)
    meant = "; did you mean %r?" % alike[0] if alike else ""
    return "unknown option %r%s (the options are %s)" % (name, meant, ", ".join(_FIELDS))


def _from_environment():
    found = {}
    for name, variable in _ENVIRONMENT:
        if os.environ.get(variable):
            found[name] = os.environ[variable]
    if os.environ.get("DATACAT_DISABLED", "").strip().lower() in ("1", "true", "yes", "on"):
        found["disabled"] = True
    return found


def _main_program():
    started_as = (getattr(sys, "argv", None) or [""])[0]
    name = os.path.basename(started_as)
    if name == "__main__.py":
        name = os.path.basename(os.path.dirname(_absolute(started_as)))
    stem, extension = os.path.splitext(name)
    if extension.lower() in (".py", ".pyw", ".pyc", ".exe"):
        name = stem
    if name in ("", "-", "-c", "-m"):
        return u"python"
    if isinstance(name, six.text_type):
        # A file name that cannot be decoded contains lone surrogates.
        return name.encode("utf-8", "replace").decode("utf-8")
    return name.decode("utf-8", "replace")


def _absolute(path):
    try:
        return os.path.abspath(path)
    except (EnvironmentError, ValueError):
        return path  # the working directory is gone, or its name cannot be decoded


def _api_key(name, value):
    if value is None or value == "":
        return None
    try:
        key = checks.text(name, value)
        key.encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidSettings("api_key contains characters that no HTTP header can carry")
    if _CONTROL.search(key):
        raise InvalidSettings(
            "api_key contains a line break or control character; was it read with its newline?"
        )
    return key


def _verify(name, value):
    return value if isinstance(value, bool) else checks.path(name, value)


def _cert(name, value):
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise InvalidSettings("cert must be one path or a pair (certificate, key)")
        return tuple(checks.path(name, part) for part in value)
    return checks.optional_path(name, value)


def _proxies(name, value):
    if value is None:
        return None
    try:
        pairs = list(value.items())
    except AttributeError:
        raise InvalidSettings(
            "proxies must be a dict such as {'https': 'http://proxy:3128'}, not %s"
            % type(value).__name__
        )
    keyed = [(checks.text("the key %s in proxies" % shown(key), key), url) for key, url in pairs]
    return tuple(
        sorted(
            (key, checks.text("the proxy's URL for %s in proxies" % shown(key), url))
            for key, url in keyed
        )
    )


def _durability(name, value):
    if value not in (u"process", u"power"):
        raise InvalidSettings("durability must be 'process' or 'power', not %s" % shown(value))
    return six.ensure_text(value)


def _window(name, value):
    if checks.size(name, value) > 64:
        raise InvalidSettings("window must be a number of records from 1 to 64, not %d" % value)
    return value


def _amount(name, value):
    """Return an Amount, None for None; given is a number of records, or a text with a unit."""
    if value is None:
        return None
    if not isinstance(value, six.string_types):
        return Amount(checks.size(name, value), _ENDLESS)
    found = _SIZE.match(value)
    size = 0
    if found is not None:
        number, unit, is_binary = found.groups()
        size = int(
            float(number) * (1024 if is_binary else 1000) ** ("kmg".index(unit.lower()) + 1)
        )
    if not size:
        raise InvalidSettings(
            "%s must be a number of records such as 5000, or a size such as '10 MB' (kB, MB, GB, "
            "KiB, MiB, GiB), not %s" % (name, shown(value))
        )
    return Amount(_ENDLESS, size)


def _redact(name, value):
    if isinstance(value, bool):
        return value
    if not isinstance(value, (tuple, list, set, frozenset)):
        raise InvalidSettings(
            "redact must be True, False, or a tuple of more words such as ('pin',), not %s"
            % shown(value)
        )
    words = [checks.text("a word in redact", word) for word in value]
    for word in words:
        if not any(character.isalpha() for character in word):
            raise InvalidSettings("redact has %s, a word without a letter" % shown(word))
    return tuple(sorted(words)) or True


def _signals(name, value):
    if not isinstance(value, (tuple, list)) or not all(
        isinstance(number, six.integer_types) and not isinstance(number, bool) for number in value
    ):
        raise InvalidSettings(
            "%s must be a tuple of signal numbers, not %s" % (name, shown(value))
        )
    for number in value:
        if not 0 < number < signal.NSIG or number in _NEVER_HANDLED:
            raise InvalidSettings(
                "%s has %s, a signal that no program can handle" % (name, shown(number))
            )
    return tuple(int(number) for number in value)


_CHECKS = {
    "base_url": urls.base_url,
    "product": checks.text,
    "version": checks.text,
    "api_key": _api_key,
    "hostname": checks.optional_text,
    "machine_id": checks.optional_text,
    "machine": checks.optional_text,
    "spool_dir": checks.optional_path,
    "durability": _durability,
    "connect_wait": checks.seconds_or_zero,
    "timeout": checks.seconds,
    "deadline": checks.seconds,
    "verify": _verify,
    "cert": _cert,
    "proxies": _proxies,
    "trust_env": checks.flag,
    "stamp_late": checks.flag,
    "fold_fields": checks.flag,
    "max_bytes": checks.size,
    "window": _window,
    "rotate_after": _amount,
    "aggregate_seconds": checks.seconds,
    "environment": checks.flag,
    "before_record": checks.optional_callable,
    "redact": _redact,
    "max_per_minute": limits.max_per_minute,
    "sample": limits.sample,
    "bandwidth": checks.optional_size,
    "on_status": checks.optional_callable,
    "recording": checks.flag,
    "end_on_signals": _signals,
    "disabled": checks.flag,
}
