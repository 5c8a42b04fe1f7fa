"""The real `LinuxFiles` over a folder that forgets, and over calls from which one was taken out."""

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from agent.errors import StateError
from agent.linux.files import Calls, LinuxFiles
from simulator import invariants
from simulator.explore.folder import WeakFolder

NAME = "journal.json"
OLD, NEW = b"the old journal", b"the new journal, which is longer"


class _Careless:
    """Passes every call on; each subclass forgets one."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    def fsync(self, descriptor: int) -> None:
        self.calls.fsync(descriptor)

    def rename(self, source: str, target: str, folder: int) -> None:
        self.calls.rename(source, target, folder)

    def unlink(self, name: str, folder: int) -> None:
        self.calls.unlink(name, folder)


class NoFolderSync(_Careless):
    def fsync(self, descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            super().fsync(descriptor)


class NoFileSync(_Careless):
    def fsync(self, descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            super().fsync(descriptor)


class SyncErrorsIgnored(_Careless):
    def fsync(self, descriptor: int) -> None:
        with suppress(OSError):
            super().fsync(descriptor)


def found(tmp_path: Path, careless: type[_Careless], *, fails_in: int = 0) -> set[str]:
    """The invariants that a replacement breaks, with the file as it was before."""
    folder = WeakFolder(NAME)
    LinuxFiles(str(tmp_path / "state"), folder).replace(NAME, OLD)
    assert folder.possible() == {OLD}
    files = LinuxFiles(str(tmp_path / "state"), careless(folder))
    files.read(NAME)
    folder.seen, folder.fails_in = set(), fails_in
    try:
        files.replace(NAME, NEW)
    except StateError:
        told = True
    else:
        told = False
    whole, durable = invariants.replaced_whole_or_not_at_all, invariants.acknowledged_is_durable
    broken = set()
    if whole(folder.seen, OLD, NEW) is not None:
        broken.add(whole.__name__)
    if not told and durable(folder.possible(), NEW) is not None:
        broken.add(durable.__name__)
    return broken


def test_a_replacement_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    assert found(tmp_path, _Careless) == set()


@pytest.mark.parametrize("fails_in", range(1, 6))
def test_a_sync_that_fails_is_never_acknowledged(tmp_path: Path, fails_in: int) -> None:
    assert found(tmp_path, _Careless, fails_in=fails_in) == set()


def test_a_folder_that_is_not_synced_is_noticed(tmp_path: Path) -> None:
    assert found(tmp_path, NoFolderSync) == {"acknowledged_is_durable"}


def test_a_rename_without_sync_is_noticed(tmp_path: Path) -> None:
    assert "replaced_whole_or_not_at_all" in found(tmp_path, NoFileSync)


def test_an_ignored_error_of_a_sync_is_noticed(tmp_path: Path) -> None:
    broken = [found(tmp_path / str(at), SyncErrorsIgnored, fails_in=at) for at in range(1, 5)]
    assert {"replaced_whole_or_not_at_all", "acknowledged_is_durable"} <= set().union(*broken)


def test_a_removal_is_durable_when_it_returns(tmp_path: Path) -> None:
    folder = WeakFolder(NAME)
    files = LinuxFiles(str(tmp_path / "state"), folder)
    files.replace(NAME, OLD)
    files.remove(NAME)
    assert invariants.acknowledged_is_durable(folder.possible(), None) is None
