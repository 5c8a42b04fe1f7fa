"""Block maps by bmaptool: what they map is checked, what they leave out is zeros, holes are not read."""

import os
from pathlib import Path

import pytest

from agent.errors import ConfigError
from fleet.disk_image_map import find_map, read_map
from fleet.disk_image_source import open_source
from fleet.images import PickyImage, open_picky
from tests.fleet.images.disks import MIB, pack, run


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """Data at 0, 5 and 11 MiB of 12, all else is holes."""
    path = tmp_path / "image.wic"
    with path.open("wb") as file:
        file.truncate(12 * MIB)
        for place in (0, 5 * MIB, 12 * MIB - 8192):
            file.seek(place)
            file.write(os.urandom(8192))
    run("bmaptool", "create", "--output", tmp_path / "image.wic.bmap", path)
    return path


def content(path: Path, *, heed_map: bool = True) -> bytes:
    with open_picky(PickyImage(path, None, heed_map)) as (stream, _):
        parts = []
        while part := stream.read(MIB):
            parts.append(part)
        return b"".join(parts)


def test_a_mapped_image_is_the_image(sparse: Path) -> None:
    assert find_map(sparse) == sparse.with_name("image.wic.bmap")
    assert content(sparse) == sparse.read_bytes()


@pytest.mark.parametrize("program", ["xz", "gzip", "zstd"])
def test_the_map_of_a_packed_image_has_the_name_of_the_raw_one(sparse: Path, program: str) -> None:
    packed = pack(sparse, program)
    assert find_map(packed) == sparse.with_name("image.wic.bmap")
    assert content(packed) == sparse.read_bytes()


def test_blocks_that_are_not_mapped_become_zeros(sparse: Path) -> None:
    expected = sparse.read_bytes()
    with sparse.open("r+b") as file:
        file.seek(2 * MIB)
        file.write(b"left over from an earlier build")
    assert content(sparse) == expected
    assert content(sparse, heed_map=False) == sparse.read_bytes() != expected


def test_a_mapped_block_that_changed_is_refused(sparse: Path) -> None:
    with sparse.open("r+b") as file:
        file.seek(5 * MIB + 100)
        file.write(b"!")
    with pytest.raises(ConfigError, match=r"bytes 5242880 to 5251072 have another checksum"):
        content(sparse)


def test_a_map_that_was_changed_is_refused(sparse: Path) -> None:
    path = sparse.with_name("image.wic.bmap")
    path.write_text(path.read_text().replace(" 0-1 ", " 0-0 "))
    with pytest.raises(ConfigError, match="own checksum is wrong"):
        content(sparse)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no xml",
        "<bmap version='1.4'/>",
        "<bmap version='2.0'/>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]><bmap version='2.0'/>",
    ],
)
def test_what_is_no_map_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.bmap"
    path.write_text(text)
    with pytest.raises(ConfigError, match="not a block map that can be used"):
        read_map(path)


def test_an_image_of_another_length_than_its_map_is_refused(sparse: Path) -> None:
    with sparse.open("ab") as file:
        file.write(bytes(512))
    with pytest.raises(ConfigError, match="the map is for another image"):
        content(sparse)
    with sparse.open("r+b") as file:
        file.truncate(6 * MIB)
    with pytest.raises(ConfigError, match="before what its block map says"):
        content(sparse)


def test_a_hole_is_zeros_without_a_read(tmp_path: Path) -> None:
    """A terabyte of holes goes by in no time, and the data between them is found."""
    path = tmp_path / "huge.img"
    with path.open("wb") as file:
        file.seek(1 << 40)
        file.write(b"data")
        file.truncate((1 << 40) + MIB)
    with open_source(path) as (source, packing):
        assert packing == "raw"
        assert source.read(4096) == bytes(4096)
        source.skip((1 << 40) - 4096 - 4096)
        assert source.read(4096) == bytes(4096)
        assert source.read(4) == b"data"
        source.skip(1 << 41)
        assert source.read(1) == b""
