"""What a power cut leaves of an application's files, by strace's record of its writes.

Belongs here: reading that record, and deciding what was kept: of a file, what was written before
its last sync began; of a folder, the names that it had when its last sync began.  Does not:
outboxes.
"""

from __future__ import absolute_import, division

import binascii
import collections
import io
import os
import re

from tools.host import strace

CALLS = (
    "openat",
    "?open",
    "?mkdir",
    "?mkdirat",
    "pwrite64",
    "ftruncate",
    "fsync",
    "fdatasync",
    "?unlink",
    "?unlinkat",
    "?rename",
    "?renameat",
    "?renameat2",
)
SYNCS = ("fsync", "fdatasync")
SECTOR = 512

_LINE = re.compile(r"^\d+ +(?P<time>[\d.]+) (?:<\.\.\. )?(?P<name>\w+)")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"^(\d+) +[\d.]+ <\.\.\. \w+ resumed>")
_RESULT = re.compile(r"^(.*)\) += (-?\d+)(?:<[^>]*>)?(?: .*)? <([\d.]+)>$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_OF_DESCRIPTOR = re.compile(r"^\d+<((?:\\x[0-9a-f]{2})*)>")


def recording(trace):
    """Return the beginning of a command that runs the rest and records its writes in `trace`."""
    return strace(
        "-f",
        "--seccomp-bpf",
        "-y",
        "-ttt",
        "-T",
        "-xx",
        "-s",
        "10000000",
        "-o",
        trace,
        "-e",
        "trace=" + ",".join(CALLS),
    )


class Call(object):
    """A system call: its arguments as strace shows them, its result (None if it only began)."""

    def __init__(self, thread, name, arguments, result, time):
        self.thread = thread
        self.name = name
        self.arguments = arguments
        self.result = result
        self.time = time

    @property
    def texts(self):
        """Its string arguments, as bytes."""
        return [_bytes(text) for text in _TEXT.findall(self.arguments)]

    @property
    def of_descriptor(self):
        """The path of its first argument, a descriptor."""
        return _bytes(_OF_DESCRIPTOR.match(self.arguments).group(1)).decode("utf-8")

    @property
    def numbers(self):
        """The numbers at the end of its arguments."""
        return [int(each) for each in re.findall(r", (\d+)(?=,|$)", self.arguments)]


def _bytes(text):
    return binascii.unhexlify(text.replace("\\x", "").encode("ascii"))


def calls_of(trace):
    """Yield each call when it ended, and a sync also when it began (without a result)."""
    began = {}
    with io.open(trace, encoding="ascii") as stream:
        for line in stream:
            line = line.rstrip("\n")
            match = _LINE.match(line)
            if match is None or match.group("name") not in _NAMES:
                continue
            name, time = match.group("name"), float(match.group("time"))
            thread = line.split(" ", 1)[0]
            is_resumed = _RESUMED.match(line)
            if is_resumed:
                text = began.pop(thread) + line[is_resumed.end() :]
            else:
                text = line[line.index("(") + 1 :]
                if name in SYNCS:
                    yield Call(thread, name, text, None, time)
            if text.endswith(_UNFINISHED):
                began[thread] = text[: -len(_UNFINISHED)]
                continue
            ended = _RESULT.match(text)
            if ended is not None:
                arguments, result, took = ended.groups()
                yield Call(
                    thread,
                    name,
                    arguments,
                    int(result),
                    time if is_resumed else time + float(took),
                )


_NAMES = frozenset(name.lstrip("?") for name in CALLS)


class _File(object):
    """A file's content, what of it is kept, and what was written in between."""

    def __init__(self):
        self.kept = bytearray()
        self.unsynced = []
        self._synced = 0

    def write(self, place, data):
        """Note a write of `data` (bytes), or that the file was truncated there (None)."""
        self.unsynced.append((place, data))

    def written(self):
        """Return how much has been written, for keep()."""
        return self._synced + len(self.unsynced)

    def keep(self, written):
        """Keep that much: a sync that began then has ended."""
        count = max(0, written - self._synced)
        for each in self.unsynced[:count]:
            _apply(self.kept, each)
        del self.unsynced[:count]
        self._synced += count

    def torn(self, chance):
        """Return what is kept, with some of the sectors written since."""
        content = bytearray(self.kept)
        for place, data in self.unsynced:
            if data is None:
                if chance.random() < 0.5:
                    _apply(content, (place, None))
                continue
            for start in range(0, len(data), SECTOR):
                if chance.random() < 0.5:
                    _apply(content, (place + start, data[start : start + SECTOR]))
        return bytes(content)

    def whole(self):
        """Return its content."""
        content = bytearray(self.kept)
        for each in self.unsynced:
            _apply(content, each)
        return bytes(content)


def _apply(content, write):
    place, data = write
    if data is None:
        del content[place:]
        content.extend(b"\0" * (place - len(content)))
        return
    content.extend(b"\0" * (place - len(content)))
    content[place : place + len(data)] = data


class _Folder(object):
    """A folder, as its parent lists it."""


class RecordedDisk(object):
    """The files and folders below a folder, as an application changed them.

    synced: {path: how often it was synced}. safe_at: when the last sync of a write-ahead log began
    that took effect.
    """

    def __init__(self, root):
        self._root = str(root)
        self._there = {self._root: _Folder()}
        self._kept = dict(self._there)
        self._syncing = {}
        self.synced = collections.Counter()
        self.safe_at = 0.0

    def cuts(self, trace):
        """Replay the record; yield the time of each sync's end, just before it takes effect.

        Until then only what earlier syncs kept is safe.  The last time is the end of the record.
        """
        time = 0.0
        for call in calls_of(trace):
            time = call.time
            if call.name not in SYNCS:
                if call.result >= 0:
                    getattr(self, "_" + call.name)(call)
            elif call.result is None:
                self._began_to_sync(call)
            elif call.thread in self._syncing:
                yield time
                self._ended_sync(call)
        yield time

    def kept(self):
        """Return {path: bytes} after a power cut that keeps nothing unsynced."""
        return dict(
            (path, bytes(each.kept))
            for path, each in self._kept.items()
            if self._is_kept(path) and isinstance(each, _File)
        )

    def torn(self, chance):
        """Return {path: bytes} after a power cut that keeps some unsynced sectors and names."""
        names = dict(self._kept)
        names.update(each for each in sorted(self._there.items()) if chance.random() < 0.5)
        return dict(
            (path, each.torn(chance))
            for path, each in sorted(names.items())
            if isinstance(each, _File)
        )

    def whole(self):
        """Return {path: bytes} without a power cut."""
        return dict(
            (path, each.whole()) for path, each in self._there.items() if isinstance(each, _File)
        )

    def _is_kept(self, path):
        while path in self._kept and path != self._root:
            path = os.path.dirname(path)
        return path in self._kept

    def _began_to_sync(self, call):
        path = call.of_descriptor
        synced = self._there.get(path)
        if isinstance(synced, _Folder):
            written = dict(
                (name, each) for name, each in self._there.items() if os.path.dirname(name) == path
            )
        elif synced is not None:
            written = synced.written()
        else:
            return
        self._syncing[call.thread] = synced, written, call.time

    def _ended_sync(self, call):
        synced, written, began_at = self._syncing.pop(call.thread)
        path = call.of_descriptor
        if call.result != 0:
            return
        self.synced[path] += 1
        if path.endswith("-wal"):
            self.safe_at = began_at
        if isinstance(synced, _File):
            synced.keep(written)
            return
        for name in [name for name in self._kept if os.path.dirname(name) == path]:
            del self._kept[name]
        self._kept.update(written)

    # The other calls

    def _path(self, call, which=0):
        path = call.texts[which].decode("utf-8")
        return path if path.startswith(self._root + os.sep) else None

    def _openat(self, call):
        path = self._path(call)
        if path and "O_CREAT" in call.arguments:
            self._there.setdefault(path, _File())

    def _mkdir(self, call):
        path = self._path(call)
        if path:
            self._there[path] = _Folder()

    def _unlink(self, call):
        self._there.pop(self._path(call), None)

    def _rename(self, call):
        moved = self._there.pop(self._path(call), None)
        if moved is not None:
            self._there[self._path(call, 1)] = moved

    _open = _openat
    _mkdirat = _mkdir
    _unlinkat = _unlink
    _renameat = _renameat2 = _rename

    def _pwrite64(self, call):
        written = self._there.get(call.of_descriptor)
        if written is not None:
            written.write(call.numbers[-1], call.texts[0][: call.result])

    def _ftruncate(self, call):
        cut = self._there.get(call.of_descriptor)
        if cut is not None:
            cut.write(call.numbers[-1], None)
