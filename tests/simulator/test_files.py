import pytest

from agent.errors import StateError
from agent.interfaces import Files
from simulator.faults import Faults, Storing
from simulator.files import SimulatedFiles
from simulator.power import Moment, Power, PowerCut


def new_files() -> SimulatedFiles:
    files = SimulatedFiles(Power(), Faults())
    files.replace("journal.json", b"old")
    return files


def test_are_what_the_agent_asks_for() -> None:
    files: Files = new_files()
    files.replace("metadata/root.json", b"1")
    files.replace("metadata/a.json", b"2")
    assert files.read("metadata/a.json") == b"2"
    assert files.read("nothing") is None
    assert files.names("metadata") == ("metadata/a.json", "metadata/root.json")
    files.remove("metadata/a.json")
    files.remove("metadata/a.json")
    assert files.names("metadata") == ("metadata/root.json",)


@pytest.mark.parametrize(
    ("moment", "expected"), [(Moment.BEFORE, {b"old"}), (Moment.AFTER, {b"new"})]
)
def test_a_cut_leaves_the_old_content_or_the_new(moment: Moment, expected: set[bytes]) -> None:
    files = new_files()
    files.power.cut_at(2, moment)
    with pytest.raises(PowerCut):
        files.replace("journal.json", b"new")
    assert {files.read("journal.json")} == expected


def test_a_cut_in_the_middle_leaves_either_and_never_a_mixture() -> None:
    found = set()
    for writes in (1, 2):
        files = new_files()
        for _ in range(writes):
            files.replace("other", b"")
        files.power.cut_at(files.power.number + 1, Moment.TORN)
        with pytest.raises(PowerCut):
            files.replace("journal.json", b"new")
        found.add(files.read("journal.json"))
    assert found == {b"old", b"new"}


def test_a_full_disk_keeps_the_old_content() -> None:
    files = new_files()
    files.faults.add(Storing.DISK_FULL, "journal.json", times=2)
    for _ in range(2):
        with pytest.raises(StateError, match="full"):
            files.replace("journal.json", b"new")
    assert files.read("journal.json") == b"old"
    files.replace("journal.json", b"new")
    assert files.read("journal.json") == b"new"


def test_a_file_that_rots_reads_as_something_else_once() -> None:
    files = new_files()
    files.faults.add(Storing.BIT_ROT)
    assert files.read("journal.json") != b"old"
    assert files.read("journal.json") == b"old"


def test_a_snapshot_can_be_gone_back_to_and_writes_are_counted() -> None:
    files = new_files()
    snapshot = files.snapshot()
    files.replace("journal.json", b"newer")
    assert (files.writes, files.written_bytes) == (2, 8)
    files.restore(snapshot)
    assert files.read("journal.json") == b"old"


@pytest.mark.parametrize("name", ["", "../x", "a/b/c", "/etc/passwd", "a b"])
def test_a_name_that_is_none_is_a_mistake_of_the_caller(name: str) -> None:
    with pytest.raises(AssertionError):
        new_files().replace(name, b"")
