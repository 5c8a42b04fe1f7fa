import struct
from pathlib import Path

import pytest

from tests.witness.block_log import (
    FLUSH,
    HEADER,
    MAGIC,
    VERSION,
    dropped,
    entry_count,
    prefixes,
    read_log,
    windows,
)

SECTOR = 512
BASE = bytes(8 * SECTOR)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two writes, a flush, one write, a flush, and one write that nothing followed."""
    rows = [(0, b"a"), (1, b"b"), (None, b""), (0, b"c"), (None, b""), (2, b"d")]
    content = HEADER.pack(MAGIC, VERSION, len(rows), SECTOR).ljust(SECTOR, b"\0")
    for sector, letter in rows:
        entry = (0, 0, FLUSH, 0) if sector is None else (sector, 1, 0, 0)
        content += struct.pack("<QQQQ", *entry).ljust(SECTOR, b"\0") + letter * SECTOR
    file = tmp_path / "log"
    file.write_bytes(content)
    return file


def letters(content: bytes) -> str:
    return "".join(chr(content[at]) if content[at] else "-" for at in range(0, 3 * SECTOR, SECTOR))


def test_every_write_is_the_last_one_once(log: Path) -> None:
    assert entry_count(log) == 6
    images = list(prefixes(BASE, read_log(log)))
    assert [letters(image.content) for image in images] == ["a--", "ab-", "cb-", "cbd"]
    assert [image.durable for image in images] == [1, 2, 4, 6]


def test_writes_between_two_flushes_share_a_window(log: Path) -> None:
    found = [(start, len(window)) for start, window in windows(read_log(log))]
    assert found == [(0, 2), (3, 1), (5, 1)]


def test_each_write_of_a_window_is_lost_once_and_nothing_acknowledged_before_is(log: Path) -> None:
    images = list(dropped(BASE, read_log(log), 4))
    assert [letters(image.content) for image in images] == ["-b-", "a--"]
    assert [image.durable for image in images] == [0, 0]


def test_an_empty_log_counts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"")
    assert entry_count(file) == 0
