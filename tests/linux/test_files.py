import os
import stat
from pathlib import Path

import pytest

from agent.errors import StateError
from agent.linux.files import LinuxFiles
from tests.linux.mounts import mounted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "state"


def test_keeps_what_is_stored_and_forgets_what_is_removed(folder: Path) -> None:
    files = LinuxFiles(str(folder))
    assert files.read("journal") is None
    files.replace("journal", b"old")
    files.replace("journal", b"")
    assert files.read("journal") == b""
    files.replace("journal", b"new")
    assert LinuxFiles(str(folder)).read("journal") == b"new"
    files.remove("journal")
    files.remove("journal")
    assert files.read("journal") is None


def test_nothing_is_made_before_the_first_write(folder: Path) -> None:
    files = LinuxFiles(str(folder))
    assert files.read("a/b") is None
    assert files.names("a") == ()
    files.remove("a/b")
    assert not folder.exists()


def test_folders_and_files_are_for_their_owner_alone(folder: Path) -> None:
    LinuxFiles(str(folder)).replace("metadata/root.json", b"x")
    for path in (folder, folder / "metadata"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "metadata/root.json").stat().st_mode) == 0o600


def test_names_are_sorted_and_whole(folder: Path) -> None:
    files = LinuxFiles(str(folder))
    for name in ("outbox/b", "outbox/a", "outbox/c.json", "other"):
        files.replace(name, b"x")
    (folder / "outbox" / "d.new").write_bytes(b"what a cut left")
    (folder / "outbox" / "not a name").write_bytes(b"x")
    (folder / "outbox" / "folder").mkdir()
    (folder / "outbox" / "link").symlink_to("a")
    assert files.names("outbox") == ("outbox/a", "outbox/b", "outbox/c.json")


def test_what_a_cut_left_is_not_read_and_is_cleared_by_the_next_write(folder: Path) -> None:
    files = LinuxFiles(str(folder))
    files.replace("journal", b"whole")
    (folder / "journal.new").write_bytes(b"hal")
    assert LinuxFiles(str(folder)).read("journal") == b"whole"
    files.replace("journal", b"next")
    assert files.read("journal") == b"next"
    assert [path.name for path in folder.iterdir()] == ["journal"]


def test_what_a_cut_left_in_a_folder_below_is_cleared_whatever_its_name(folder: Path) -> None:
    LinuxFiles(str(folder)).replace("kept/a", b"whole")
    for place in ("kept/b.new", "request.new"):
        (folder / place).write_bytes(b"hal")
    LinuxFiles(str(folder)).replace("kept/c", b"next")
    assert sorted(path.name for path in (folder / "kept").iterdir()) == ["a", "c"]
    assert (folder / "request.new").exists()  # may be another process's, which is just writing it


def test_symbolic_link_is_neither_followed_nor_written_through(
    folder: Path, tmp_path: Path
) -> None:
    files = LinuxFiles(str(folder))
    files.replace("a", b"x")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (folder / "link").symlink_to(secret)
    (folder / "link.new").symlink_to(secret)
    (folder / "sub").symlink_to(tmp_path)
    with pytest.raises(StateError, match=r"cannot read .*link: .*remove the symbolic link"):
        files.read("link")
    with pytest.raises(StateError, match=r"cannot read .*sub/secret"):
        files.read("sub/secret")
    with pytest.raises(StateError, match=r"cannot write .*sub/secret"):
        files.replace("sub/secret", b"mine")
    files.replace("link", b"mine")
    assert files.read("link") == b"mine"
    assert secret.read_bytes() == b"secret"


def test_state_folder_itself_may_be_a_link_to_a_data_partition(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "state").symlink_to("data")
    LinuxFiles(str(tmp_path / "state")).replace("journal", b"x")
    assert (tmp_path / "data" / "journal").read_bytes() == b"x"


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_only_files_are_read(folder: Path, kind: str) -> None:
    folder.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(folder / "odd")
    else:
        (folder / "odd").mkdir()
    with pytest.raises(StateError, match=r"cannot read .*odd"):
        LinuxFiles(str(folder)).read("odd")


@pytest.mark.parametrize(
    "name", ["", "..", "a/..", "/a", "a/b/c", "a b", "a\0", "a\n", "a.new", "a/"]
)
def test_name_that_is_none_is_refused(folder: Path, name: str) -> None:
    files = LinuxFiles(str(folder))
    for use in (files.read, files.remove, lambda name: files.replace(name, b"")):
        with pytest.raises(StateError, match="nothing was read or written"):
            use(name)


def test_full_disk_keeps_the_old_content_and_leaves_no_remains(tmp_path: Path) -> None:
    with mounted(tmp_path / "full", "-t", "tmpfs", "-o", "size=64k", "tmpfs") as folder:
        files = LinuxFiles(str(folder))
        files.replace("journal", b"old")
        with pytest.raises(StateError, match=r"journal: No space left on device; free some space"):
            files.replace("journal", bytes(100_000))
        assert files.read("journal") == b"old"
        assert [path.name for path in folder.iterdir()] == ["journal"]
        files.replace("journal", b"new")
        assert files.read("journal") == b"new"


def test_read_only_file_system_is_told_as_such(tmp_path: Path) -> None:
    with mounted(tmp_path / "fixed", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs") as folder:
        files = LinuxFiles(str(folder))
        for use in (files.remove, lambda name: files.replace(name, b"")):
            with pytest.raises(StateError, match="Read-only file system; mount its file system"):
                use("journal")
        with pytest.raises(StateError, match="Read-only file system"):
            LinuxFiles(str(folder / "deeper")).replace("journal", b"")
