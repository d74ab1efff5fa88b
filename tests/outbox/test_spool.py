"""The folder of outboxes: private, one owner per file, nothing readable thrown away."""

from __future__ import absolute_import, division

import errno
import os
import re
import stat
import sys
import textwrap
import time

import pytest
from tools.outboxes import CAP, NAME, WHERE, Warnings, sql
from tools.privileges import bound_by_permissions
from tools.process import ChildProcess, environment
from tools.waiting import PATIENCE

from datacat.outbox import bounds, folder, names, ownership, spool
from datacat.outbox.names import identity_of, learned_of, parent_of
from datacat.outbox.outbox import Outbox
from datacat.outbox.refusals import SpoolUnusable, StoreHeld, StoreTooNew
from datacat.outbox.shared import (
    SHARED,
    is_marked_ended,
    is_marked_shared,
    mark_ended,
    mark_shared,
)
from datacat.outbox.spool import Spool
from datacat.outbox.store import Store
from datacat.records import kinds

posix_only = pytest.mark.skipif(os.name != "posix", reason="POSIX modes, links and owners")
root_only = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away"
)


@pytest.mark.parametrize("answer", ["~/.local/state/datacat", RuntimeError("no home")])
def test_without_a_home_there_is_no_default_folder_and_none_is_made(answer, tmp_path, monkeypatch):
    """Old and new platformdirs answer differently."""

    def user_state_dir(*arguments, **options):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("platformdirs.user_state_dir", user_state_dir)
    monkeypatch.chdir(tmp_path)
    spool = Spool(None, WHERE, False, Warnings())
    for use in (spool.claim, spool.create, lambda: spool.candidates(())):
        with pytest.raises(SpoolUnusable, match="no home directory.* spool_dir="):
            use()
    assert os.listdir(str(tmp_path)) == []


@posix_only
def test_a_folder_that_cannot_be_made_private_is_unusable(tmp_path, monkeypatch):
    """As on a read-only file system."""

    def refuse(path, mode):
        raise OSError(errno.EROFS, "Read-only file system")

    os.chmod(str(tmp_path), 0o755)
    monkeypatch.setattr(os, "chmod", refuse)
    with pytest.raises(SpoolUnusable, match="private.* spool_dir="):
        Spool(str(tmp_path), WHERE, False, Warnings()).claim()


class Place(object):
    """A spool folder, and outboxes in it."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.warnings = Warnings()
        self.spool = Spool(self.folder, WHERE, False, self.warnings)
        self._open = []

    def keep(self, store):
        self._open.append(store)
        return store

    def outbox(self, store):
        return self.keep(Outbox(store, CAP, self.warnings))

    def leave(self, *bodies):
        """Leave an outbox with these events behind; return its path."""
        outbox = Outbox(self.spool.create(), CAP, self.warnings)
        entry = outbox.add_session(u"local-1", b"{}")
        for body in bodies:
            outbox.append(entry, kinds.EVENT, body)
        outbox.close()
        return outbox.path

    def free(self, *mine):
        """Open all free outboxes but `mine`; return their stores."""
        opened = [self.spool.open_if_free(path) for path in self.spool.candidates(mine)]
        return [self.keep(store) for store in opened if store is not None]

    def names(self):
        return sorted(os.listdir(self.folder))

    def close(self):
        for one in self._open:
            one.close()


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path / "spool")
    yield made
    made.close()


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@posix_only
@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777])
def test_folder_and_files_are_the_users_alone_whatever_the_umask(place, umask):
    if umask == 0o777 and os.getuid() != 0:
        pytest.skip("only root can use a folder made under this umask")
    before = os.umask(umask)
    try:
        outbox = place.outbox(place.spool.claim())
        entry = outbox.add_session(u"local-1", b"{}")
        outbox.append(entry, kinds.EVENT, b"1")
    finally:
        os.umask(before)
    assert mode(place.folder) == 0o700
    files = place.names()
    assert len(files) >= 3 and set(files) > {os.path.basename(outbox.path) + "-wal"}
    assert set(mode(os.path.join(place.folder, name)) for name in files) == {0o600}


@posix_only
@pytest.mark.parametrize("umask", [0, 0o022])
def test_what_is_missing_above_the_folder_is_made_for_the_user_alone(tmp_path, umask):
    """Where others may write into a parent, they may exchange the folder."""
    before = os.umask(umask)
    try:
        Spool(str(tmp_path / "state" / "datacat" / "spool"), WHERE, False, Warnings()).create()
    finally:
        os.umask(before)
    assert mode(str(tmp_path / "state")) == mode(str(tmp_path / "state" / "datacat")) == 0o700


def test_a_folder_that_another_process_makes_at_the_same_time_is_used(place, monkeypatch):
    mkdir = os.mkdir

    def too_late(path, *mode):
        mkdir(path, *mode)
        mkdir(path, *mode)

    monkeypatch.setattr(os, "mkdir", too_late)
    place.keep(place.spool.create())


@posix_only
def test_the_folders_that_name_new_ones_are_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(folder, "_sync_folder", synced.append)
    Spool(str(tmp_path / "state" / "spool"), WHERE, False, Warnings()).create().close()
    assert synced == [str(tmp_path), str(tmp_path / "state")]


@posix_only
def test_a_folder_with_nothing_but_outboxes_is_made_private(place):
    place.leave(b"1")
    os.chmod(place.folder, 0o755)
    place.keep(place.spool.claim())
    assert mode(place.folder) == 0o700


@pytest.mark.parametrize("given", [0o000, 0o300, 0o311, 0o333, 0o500, 0o600])
def test_a_folder_of_ones_own_gets_its_mode_back(place, given):
    path = place.leave(b"1")
    os.chmod(place.folder, given)
    with bound_by_permissions():
        assert place.keep(place.spool.claim()).path == path
    assert mode(place.folder) == 0o700


@pytest.mark.parametrize("given", [0o000, 0o300, 0o333])
def test_a_folder_that_cannot_be_listed_nor_changed_is_unusable(place, given, monkeypatch):
    def refuse(path, mode):
        raise OSError(errno.EPERM, "Operation not permitted")

    os.mkdir(place.folder)
    os.chmod(place.folder, given)
    monkeypatch.setattr(os, "chmod", refuse)
    with bound_by_permissions():
        for use in (place.spool.claim, place.spool.create, lambda: place.spool.candidates(())):
            with pytest.raises(SpoolUnusable, match="private.* spool_dir="):
                use()


@posix_only
@pytest.mark.parametrize("ending", ["", "-123"])
def test_what_is_learned_about_servers_is_no_other_file(place, ending):
    path = place.leave(b"1")
    open(learned_of(path) + ending, "wb").close()
    os.chmod(place.folder, 0o777)
    place.keep(place.spool.claim())
    assert mode(place.folder) == 0o700


@pytest.mark.parametrize("name", ["notes.server.txt", "house-owner", "space-probe", "a-reserve"])
def test_a_file_of_the_users_is_not_removed_for_its_name(place, name):
    os.mkdir(place.folder)
    path = os.path.join(place.folder, name)
    open(path, "wb").close()
    os.utime(path, (1, 1))
    place.keep(place.spool.claim())
    place.spool.tidy()
    assert os.path.exists(path)


@posix_only
def test_a_folder_that_goes_while_it_is_looked_at_is_unusable(place, monkeypatch):
    os.mkdir(place.folder)
    os.chmod(place.folder, 0o755)

    def gone(path):
        raise OSError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(os, "listdir", gone)
    with pytest.raises(SpoolUnusable, match="spool_dir="):
        place.spool.claim()


@posix_only
def test_a_folder_with_other_files_keeps_its_mode(place):
    os.mkdir(place.folder, 0o755)
    os.chmod(place.folder, 0o755)
    open(os.path.join(place.folder, "readme.txt"), "w").close()
    place.keep(place.spool.claim())
    assert mode(place.folder) == 0o755


@posix_only
def test_a_folder_where_others_may_write_is_refused(place):
    os.mkdir(place.folder)
    os.chmod(place.folder, 0o1777)
    open(os.path.join(place.folder, "readme.txt"), "w").close()
    with pytest.raises(SpoolUnusable) as refused:
        place.spool.claim()
    assert place.folder in str(refused.value)
    assert mode(place.folder) == 0o1777


@posix_only
def test_a_symlink_in_the_folders_place_is_refused(place, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    os.symlink(str(tmp_path / "elsewhere"), place.folder)
    with pytest.raises(SpoolUnusable):
        place.spool.claim()
    assert os.listdir(str(tmp_path / "elsewhere")) == []


@posix_only
def test_a_refused_folder_is_not_searched_for_outboxes(place, tmp_path):
    """A process that has no file of its own looks for those of dead ones all the same."""
    place.leave(b"1")
    os.rename(place.folder, str(tmp_path / "elsewhere"))
    os.symlink(str(tmp_path / "elsewhere"), place.folder)
    with pytest.raises(SpoolUnusable):
        place.spool.candidates([])


@posix_only
def test_a_symlink_in_a_files_place_is_left_alone(place, tmp_path):
    path = place.leave(b"1")
    os.rename(path, str(tmp_path / "target"))
    os.symlink(str(tmp_path / "target"), path)
    store = place.keep(place.spool.claim())
    assert store.path != path and os.path.islink(path)


@root_only
def test_a_folder_of_another_user_is_refused(place):
    os.mkdir(place.folder)
    os.chown(place.folder, 12345, -1)
    with pytest.raises(SpoolUnusable) as refused:
        place.spool.claim()
    words = str(refused.value)
    assert "another user (uid 12345)" in words and "runs as root, uid 0" in words
    assert "spool_dir=" in words


@root_only
def test_a_file_of_another_user_is_left_alone(place):
    path = place.leave(b"1")
    os.chown(path, 12345, -1)
    store = place.keep(place.spool.claim())
    assert store.path != path
    assert place.free(store.path) == []


def test_a_folder_that_cannot_be_made_is_unusable(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SpoolUnusable) as refused:
        Spool(str(tmp_path / "file" / "spool"), WHERE, False, Warnings()).claim()
    assert "spool_dir" in str(refused.value)


def test_claim_continues_a_free_outbox_of_its_scope(place):
    path = place.leave(b"1")
    outbox = place.outbox(place.spool.claim())
    assert outbox.path == path
    assert outbox.head(outbox.entries()[0]).body == b"1"


def test_a_file_that_another_process_is_making_is_left_to_it(place):
    """Or that process would have to make another, and the first would lie about."""
    place.keep(place.spool.create())
    path = os.path.join(place.folder, NAME.replace("b" * 12, "0" * 12))
    with open(path, "wb"):
        pass
    assert place.free() == []
    os.utime(path, (1, 1))
    assert [store.path for store in place.free()] == [path]


def test_claim_makes_a_new_outbox_if_none_is_free(place):
    first = place.keep(place.spool.claim())
    second = place.keep(place.spool.claim())
    assert first.path != second.path and identity_of(first.path) != identity_of(second.path)


def test_another_scopes_outbox_is_never_touched(place):
    path = place.leave(b"1")
    other = Spool(place.folder, WHERE._replace(key="cccccccccccc"), False, place.warnings)
    store = place.keep(other.claim())
    assert store.path != path and other.candidates([store.path]) == []


def test_a_childs_outbox_names_its_parent(place):
    parent = place.keep(place.spool.create())
    child = place.keep(place.spool.create(identity_of(parent.path)))
    assert parent_of(child.path) == identity_of(parent.path) and parent_of(parent.path) is None


def test_only_a_free_outbox_is_opened_and_only_a_held_one_is_a_living_heir(place):
    mine = place.keep(place.spool.create())
    free = place.leave(b"1")
    held = place.keep(place.spool.create("dddddddddddd"))
    dead = place.spool.create("eeeeeeeeeeee")
    dead.close()
    assert parent_of(held.path) == "dddddddddddd"
    assert place.spool.has_living_heir("dddddddddddd", [mine.path])
    assert not place.spool.has_living_heir("dddddddddddd", [held.path])
    assert not place.spool.has_living_heir("eeeeeeeeeeee", [])
    found = place.free(mine.path, held.path, dead.path)
    assert [store.path for store in found] == [free]


def test_reopen_finds_its_own_file_again(place):
    path = place.leave(b"1")
    place.leave(b"2")
    assert place.keep(place.spool.reopen(path)).path == path
    assert place.keep(place.spool.reopen(path)).path != path


HOLDING = textwrap.dedent("""
    import sys
    from tools.outboxes import WHERE, Warnings
    from datacat.outbox.spool import Spool
    store = Spool(sys.argv[1], WHERE, False, Warnings()).claim()
    sys.stdout.write("holds " + store.path + "\\n")
    sys.stdout.flush()
    sys.stdin.readline()
""")


def test_a_held_outbox_is_never_taken_and_a_killed_processes_is_free_at_once(place):
    path = place.leave(b"1")
    child = ChildProcess([sys.executable, "-c", HOLDING, place.folder], environment())
    try:
        held = child.wait_for_line(re.compile("holds (.*)"), PATIENCE).group(1).strip()
        assert held == path
        with pytest.raises(StoreHeld):
            Store(path)
        mine = place.keep(place.spool.claim())
        assert mine.path != path and place.free(mine.path) == []
        child.kill()
        found = place.free(mine.path)
        assert [store.path for store in found] == [path]
    finally:
        child.close()


def test_many_processes_that_start_at_once_get_an_outbox_each(place):
    """A new file that another process finds free in its first moment is left to that one."""
    children = [
        ChildProcess([sys.executable, "-c", HOLDING, place.folder], environment())
        for _ in range(6)
    ]
    try:
        lines = [child.wait_for_line(re.compile("holds (.*)"), PATIENCE) for child in children]
        held = [line.group(1) for line in lines]
        assert len(set(held)) == 6
        for path in held:
            assert os.path.exists(path.strip())
    finally:
        for child in children:
            child.close()


def test_a_new_file_that_another_finds_first_is_left_to_it(place, monkeypatch):
    create = spool.create_private_file
    taken = []

    def create_and_lose(path):
        create(path)
        if not taken:
            taken.append(place.keep(Store(path)))

    monkeypatch.setattr(spool, "create_private_file", create_and_lose)
    store = place.keep(place.spool.create())
    assert store.path != taken[0].path and os.path.exists(taken[0].path)


@posix_only
def test_where_every_lock_seems_held_no_file_is_left(place, monkeypatch):
    """Some file systems answer flock like that for every file, while fcntl works."""
    fcntl = pytest.importorskip("fcntl")

    def held(descriptor, how):
        if how != fcntl.LOCK_UN:
            raise IOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(fcntl, "flock", held)
    for _ in range(3):
        with pytest.raises(SpoolUnusable, match="cannot be locked.* spool_dir="):
            place.spool.claim()
        assert place.names() == []


@posix_only
def test_a_file_deleted_while_it_was_being_opened_is_not_used(place, monkeypatch):
    path = place.leave(b"1")

    def deleted(name):
        inode = os.lstat(name).st_ino
        os.rename(name, name + "-gone")
        return inode

    monkeypatch.setattr(spool, "inode_of_own", deleted)
    assert place.keep(place.spool.claim()).path != path


def flip(path, needle):
    with open(path, "r+b") as stream:
        content = stream.read()
        assert needle in content
        stream.seek(content.index(needle))
        stream.write(b"?")


def test_sound_rows_of_a_damaged_file_are_salvaged_and_the_file_is_kept(place):
    path = place.leave(*[b"body-%02d" % number for number in range(20)])
    flip(path, b"body-07")
    with open(path, "r+b") as stream:
        stream.write(b"CREATE TABLE nothing of the kind")
    store = place.keep(place.spool.claim())
    assert store.path != path and store.page(1, 0)[0] == []
    assert "damaged" in place.warnings.topics
    assert any(name.startswith(os.path.basename(path) + ".corrupt-") for name in place.names())
    assert not os.path.exists(path)


def test_a_file_with_a_damaged_row_of_its_own_sessions_is_salvaged(place):
    path = place.leave(*[b"body-%02d" % number for number in range(20)])
    store = Store(path)
    sql(store, "UPDATE sessions SET accepted = 'x'")
    store.close()
    flip(path, b"body-07")
    outbox = place.outbox(place.spool.claim())
    assert outbox.path != path
    entry = outbox.entries()[0]
    bodies = []
    while outbox.head(entry):
        bodies.append(outbox.head(entry).body)
        outbox.settle(entry, outbox.head(entry))
    assert bodies == [b"body-%02d" % number for number in range(20) if number != 7]
    assert entry.waiting == 0 and entry.dropped == 1


def test_a_newer_schema_is_left_alone_with_a_warning(place):
    path = place.leave(b"1")
    store = Store(path)
    sql(store, "PRAGMA user_version = 99")
    store.close()
    assert place.keep(place.spool.claim()).path != path
    assert place.warnings.topics == ["too new"] and "upgrade" in place.warnings.told[0][1]
    with pytest.raises(StoreTooNew):
        Store(path)


def test_a_file_that_is_not_a_database_is_renamed_and_replaced(place):
    place.keep(place.spool.claim())
    path = os.path.join(place.folder, NAME.replace("b" * 12, "0" * 12))
    with open(path, "wb") as stream:
        stream.write(b"no database" * 1000)
    assert [store.entries() for store in place.free()] == [[]]
    assert not os.path.exists(path) and "damaged" in place.warnings.topics


def test_a_replacement_takes_the_reserve_with_it(place):
    outbox = place.outbox(place.spool.claim())
    outbox.append(outbox.add_session(u"local-1", b"{}"), kinds.EVENT, b"x" * 100000)
    outbox.upkeep.measure()
    assert os.path.exists(outbox.path + bounds.RESERVE)
    fresh = place.keep(place.spool.replacement(outbox.disk.store))
    assert not os.path.exists(outbox.path + bounds.RESERVE)
    assert fresh.path != outbox.path


def test_a_mark_beside_an_outbox_that_is_gone_is_removed_after_a_day(place):
    """A forked child that lives longer than its parent leaves one."""
    gone, fresh = place.spool.create(), place.spool.create()
    kept = place.keep(place.spool.create())
    for store in (gone, fresh, kept):
        if store is not kept:
            store.delete()
        mark_shared(store.path, "s1")
    for store in (gone, kept):
        os.utime(store.path + SHARED, (1, 1))
    place.spool.candidates([kept.path])
    are_marked = [is_marked_shared(store.path, "s1") for store in (gone, fresh, kept)]
    assert are_marked == [False, True, True]


@pytest.mark.parametrize("days, is_kept", [(29, True), (31, False)])
def test_the_mark_of_a_sessions_end_is_kept_for_30_days(place, days, is_kept):
    store = place.keep(place.spool.create())
    mark_ended(store.path, "local-1")
    written = time.time() - days * 86400
    os.utime(names.end_of(store.path, "local-1"), (written, written))
    place.spool.tidy()
    assert is_marked_ended(store.path, "local-1") == is_kept


def left_with_a_reserve(place):
    """Return the path of an outbox whose process was killed, and that has a reserve."""
    path = place.leave(b"x" * 100000)
    assert bounds.Reserve(path).keep(bounds.LEAST_WITH_RESERVE)
    assert os.path.exists(path + bounds.RESERVE)
    return path


def test_whoever_opens_a_dead_processs_outbox_frees_its_reserve(place):
    path = left_with_a_reserve(place)
    assert place.keep(place.spool.claim()).path == path
    assert not os.path.exists(path + bounds.RESERVE)


@pytest.mark.skipif(ownership.fcntl is None, reason="no companion tells here that it has no owner")
def test_whoever_measures_the_spool_frees_the_reserves_of_dead_processes(place):
    """Without opening their outboxes, which may be many, and without a server."""
    path = left_with_a_reserve(place)
    mine = os.path.join(place.folder, NAME)
    child = ChildProcess([sys.executable, "-c", HOLDING, place.folder], environment())
    try:
        child.wait_for_line(re.compile("holds (.*)"), PATIENCE)
        bounds.Reserve(path).keep(bounds.LEAST_WITH_RESERVE)
        living = bounds.share(mine, CAP)
        assert os.path.exists(path + bounds.RESERVE), "it belongs to a living process"
        child.kill()
        assert bounds.share(mine, CAP) >= living + bounds.RESERVE_BYTES
        assert not os.path.exists(path + bounds.RESERVE)
    finally:
        child.close()


def test_a_reserve_whose_outbox_is_gone_is_removed_after_a_day(place):
    path = left_with_a_reserve(place)
    os.remove(path)
    place.spool.candidates([])
    assert os.path.exists(path + bounds.RESERVE)
    os.utime(path + bounds.RESERVE, (1, 1))
    place.spool.candidates([])
    assert not os.path.exists(path + bounds.RESERVE)


def of_another_machine(place):
    """Return a spool in a place's folder of the same program on another machine."""
    return Spool(place.folder, WHERE._replace(machine="f" * 12), False, place.warnings)


def test_on_a_local_disk_a_free_outbox_is_free_whatever_machine_it_names(place):
    """The host name changed, or a container was made anew on the same volume."""
    path = place.leave(b"1")
    assert of_another_machine(place).candidates([]) == [path]
    assert place.keep(of_another_machine(place).claim()).path == path


def test_on_a_network_file_system_other_machines_outboxes_are_left_alone(place, monkeypatch):
    """Locks do not hold there, or not at once."""
    monkeypatch.setattr(spool.file_systems, "is_local", lambda folder: False)
    path = place.leave(b"1")
    other = of_another_machine(place)
    mine = place.keep(other.claim())
    assert mine.path != path and other.candidates([mine.path]) == []
    assert place.spool.candidates([mine.path]) == [path]


def left_by_an_older_datacat(place, scope=WHERE.older):
    path = os.path.join(place.folder, scope + "-dddddddddddd.outbox")
    os.rename(place.leave(b"1"), path)
    # They had no companion.
    for name in place.names():
        if name.endswith("-owner"):
            os.remove(os.path.join(place.folder, name))
    return path


def test_an_older_datacats_outbox_is_drained_but_not_continued(place):
    """Its scope names the host, which may be called something else tomorrow."""
    path = left_by_an_older_datacat(place)
    mine = place.keep(place.spool.claim())
    assert mine.path != path and place.spool.candidates([mine.path]) == [path]
    assert place.free(mine.path)[0].path == path


def test_what_nobody_here_sends_is_told_once_with_count_and_age(place, monkeypatch):
    monkeypatch.setattr(spool.file_systems, "is_local", lambda folder: False)
    foreign = left_by_an_older_datacat(place, "999999999999")
    os.utime(foreign, (1, 1))
    remote = of_another_machine(place).create()
    remote.close()
    newer = place.leave(b"1")
    store = Store(newer)
    sql(store, "PRAGMA user_version = 99")
    store.close()
    place.keep(place.spool.claim())
    for _ in range(2):
        place.spool.report_what_is_left_alone()
    told = [words for topic, words in place.warnings.told if topic == "left alone"]
    assert "3 outboxes in %s" % place.folder in told[0] and "max_bytes" in told[0]
    assert "1 of another server or product, 1 of another machine, 1 of a newer" in told[0]
    assert " days ago" in told[0]


def test_nothing_is_told_of_what_somebody_sends(place):
    """Own outboxes, and those of other programs that run or ran just now."""
    place.leave(b"1")
    left_by_an_older_datacat(place, "999999999999")
    place.spool.report_what_is_left_alone()
    assert place.warnings.told == []


@pytest.mark.skipif(ownership.fcntl is None, reason="no companion tells here that it has an owner")
def test_another_product_of_this_process_is_neither_told_of_nor_counted(place):
    """However long it has written nothing."""
    other = Spool(place.folder, WHERE._replace(key="c" * 12), False, place.warnings)
    theirs, mine = place.keep(other.create()), place.keep(place.spool.create())
    for name in place.names():
        os.utime(os.path.join(place.folder, name), (1, 1))
    place.spool.report_what_is_left_alone()
    assert place.warnings.told == [] and bounds.share(mine.path, CAP) == CAP
    theirs.close()
    assert bounds.share(mine.path, CAP) < CAP
