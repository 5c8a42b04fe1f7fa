from pathlib import Path

import pytest

from agent.errors import FetchError, NotFoundError
from simulator.clock import SimulatedClock
from simulator.faults import Faults, Fetch
from simulator.repository import (
    READ_BYTES_MAX,
    STALL_S,
    FolderSource,
    MemorySource,
    SimulatedRepository,
)

BLOB = bytes(range(256)) * 1024


def repository(**content: bytes) -> SimulatedRepository:
    return SimulatedRepository(MemorySource(content), SimulatedClock(), Faults())


def read_all(source: SimulatedRepository, path: str, offset: int = 0, most: int = 10**9) -> bytes:
    stream = source.open(path, offset, most)
    rows = []
    while row := stream.read(10**9):
        assert len(row) <= READ_BYTES_MAX
        rows.append(row)
    stream.close()
    return b"".join(rows)


def test_serves_ranges_and_counts_what_was_taken() -> None:
    source = repository(blob=BLOB, other=b"x")
    assert read_all(source, "blob") == BLOB
    assert read_all(source, "blob", 1000, 10) == BLOB[1000:1010]
    assert source.count("blob") == 2
    assert source.sent_bytes("blob") == len(BLOB) + 10
    assert source.sent_bytes("other") == 0
    assert source.clock.now_s > 0


def test_an_offset_behind_the_end_gives_nothing() -> None:
    assert read_all(repository(blob=b"abc"), "blob", 99) == b""


def test_what_is_not_there_is_not_found() -> None:
    source = repository()
    with pytest.raises(NotFoundError):
        source.open("blob", 0, 1)
    assert source.count() == 1


def test_serves_a_folder_and_later_an_older_snapshot_of_it(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "one").write_bytes(b"first")
    folder = FolderSource(tmp_path)
    source = SimulatedRepository(folder, SimulatedClock())
    older = folder.snapshot()
    (tmp_path / "blobs" / "one").write_bytes(b"second")
    assert read_all(source, "blobs/one") == b"second"
    source.source = older
    assert read_all(source, "blobs/one") == b"first"


def test_faults_strike_as_often_as_they_are_told_and_then_stop() -> None:
    source = repository(blob=BLOB)
    source.faults.add(Fetch.MISSING, "blob", times=2, after=1)
    assert read_all(source, "blob") == BLOB
    for _ in range(2):
        with pytest.raises(NotFoundError):
            source.open("blob", 0, 1)
    assert read_all(source, "blob") == BLOB


def test_can_cut_a_file_short_lie_and_stall() -> None:
    source = repository(blob=BLOB)
    source.faults.add(Fetch.TRUNCATED)
    assert read_all(source, "blob") == BLOB[: len(BLOB) // 2]
    source.faults.add(Fetch.WRONG_BYTES)
    wrong = read_all(source, "blob")
    assert len(wrong) == len(BLOB)
    assert wrong != BLOB
    source.faults.add(Fetch.STALLED)
    before_s = source.clock.now_s
    with pytest.raises(FetchError, match="nothing came"):
        source.open("blob", 0, 1)
    assert source.clock.now_s == before_s + STALL_S


def test_reading_a_closed_stream_is_an_error() -> None:
    stream = repository(blob=BLOB).open("blob", 0, 10)
    stream.close()
    stream.close()
    with pytest.raises(FetchError):
        stream.read(1)
