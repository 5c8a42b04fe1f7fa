"""Packed images are told by their content, and give the same payload as the raw ones."""

import bz2
import gzip
import lzma
from pathlib import Path

import pytest
from backports import zstd

from agent.errors import ConfigError
from fleet.images import open_image
from fleet.payload import Encoding, encode_full
from tests.fleet.signing.support import noise

IMAGE = noise(200_000) + bytes(300_000) + b"some text " * 1600 + bytes(96)


def payload_name(path: Path, folder: Path) -> str:
    with open_image(path) as stream:
        encoded = encode_full(stream, folder, Encoding(threads=2), lambda: None)
        assert stream.consumed_bytes() == stream.file_bytes
    return encoded.path.name


@pytest.mark.parametrize(
    "packed",
    [
        lzma.compress(IMAGE, preset=0),
        gzip.compress(IMAGE, 1),
        zstd.compress(IMAGE, 1),
        bz2.compress(IMAGE, 1),
        lzma.compress(IMAGE[:100_000], preset=0) + lzma.compress(IMAGE[100_000:], preset=0),
    ],
    ids=["xz", "gzip", "zstd", "bzip2", "two xz streams"],
)
def test_a_packed_image_gives_the_payload_of_the_raw_one(tmp_path: Path, packed: bytes) -> None:
    raw, other = tmp_path / "raw.img", tmp_path / "named-wrongly.img"
    raw.write_bytes(IMAGE)
    other.write_bytes(packed)

    assert payload_name(other, tmp_path / "a") == payload_name(raw, tmp_path / "b")


@pytest.mark.parametrize(
    "packed",
    [
        lzma.compress(IMAGE, preset=0)[:-20],
        gzip.compress(IMAGE, 1)[:-9],
        zstd.compress(IMAGE, 1)[:-20],
        lzma.compress(IMAGE, preset=0)[:5000] + noise(5000),
        gzip.compress(IMAGE, 1)[:5000] + noise(5000),
    ],
    ids=["cut xz", "cut gzip", "cut zstd", "damaged xz", "damaged gzip"],
)
def test_a_damaged_image_is_refused_and_leaves_no_payload(tmp_path: Path, packed: bytes) -> None:
    path, blobs = tmp_path / "image", tmp_path / "blobs"
    path.write_bytes(packed)

    with pytest.raises(ConfigError, match="damaged or cut short"):
        payload_name(path, blobs)

    assert list(blobs.iterdir()) == []


@pytest.mark.parametrize(
    "start", [b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c", b"QFI\xfb", b"\x3a\xff\x26\xed"]
)
def test_a_foreign_format_is_refused(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "image"
    path.write_bytes(start + bytes(4096))

    with pytest.raises(ConfigError, match="raw image"), open_image(path):
        pass


def test_a_missing_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"), open_image(tmp_path / "none"):
        pass
