"""The encoder's payloads are what `agent.payload` reads, byte for byte the same each time."""

import hashlib
import io
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.payload import WINDOW_BYTES, Kind, WindowEntry, parse_index
from fleet.payload import EncodedImage, Encoding, encode_full
from tests.fleet.signing.support import noise

SMALL = Encoding(window_bytes=4096, threads=2)


def encode(content: bytes, folder: Path, encoding: Encoding = SMALL) -> EncodedImage:
    return encode_full(io.BytesIO(content), folder, encoding, lambda: None)


def decode(encoded: EncodedImage) -> bytes:
    """What a device would write, by the index alone."""
    content = encoded.path.read_bytes()
    index = parse_index(
        content[: encoded.payload.index_bytes],
        sha256=encoded.payload.index_sha256,
        image_bytes=encoded.length_bytes,
        payload_bytes=len(content),
    )
    windows = []
    for entry in index.entries:
        window = _window(entry, content)
        assert hashlib.sha256(window).digest() == entry.sha256
        assert len(window) == entry.length_bytes
        windows.append(window)
    return b"".join(windows)


def _window(entry: WindowEntry, content: bytes) -> bytes:
    record = content[entry.record_offset : entry.record_offset + entry.record_length]
    if entry.kind is Kind.ZEROS:
        assert (entry.record_offset, entry.record_length) == (0, 0)
        assert entry.record_sha256 == bytes(32)
        return bytes(entry.length_bytes)
    assert hashlib.sha256(record).digest() == entry.record_sha256
    return record if entry.kind is Kind.PLAIN else zstd.decompress(record)


def test_an_image_of_every_kind_of_window_comes_back(tmp_path: Path) -> None:
    image = noise(4096) + bytes(4096) + b"lock and gate 16" * 256 + noise(1536)

    encoded = encode(image, tmp_path)

    assert decode(encoded) == image
    assert encoded.windows == {Kind.ZEROS: 1, Kind.PLAIN: 2, Kind.ZSTD: 1}
    assert encoded.sha256 == hashlib.sha256(image).hexdigest()
    assert encoded.path.name == encoded.payload.blob
    assert hashlib.sha256(encoded.path.read_bytes()).hexdigest() == encoded.payload.blob


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from([bytes(512), b"ab" * 256, noise(512, 5), noise(512, 6)]),
        min_size=1,
        max_size=40,
    )
)
def test_any_image_of_whole_sectors_comes_back(
    tmp_path_factory: pytest.TempPathFactory, sectors: list[bytes]
) -> None:
    image = b"".join(sectors)

    encoded = encode(image, tmp_path_factory.mktemp("blobs"), Encoding(window_bytes=2048))

    assert decode(encoded) == image


def test_threads_change_no_byte(tmp_path: Path) -> None:
    image = b"".join(noise(3000, seed) + bytes(1096) for seed in range(20)) + bytes(8192)

    names = {
        encode(
            image, tmp_path / str(threads), Encoding(window_bytes=4096, threads=threads)
        ).path.name
        for threads in (1, 2, 5)
    }

    assert len(names) == 1


def test_the_product_s_window_is_used_and_zstd_needs_no_more_memory(tmp_path: Path) -> None:
    image = b"the same line again and again...\n" * 512 * 32

    encoded = encode(image, tmp_path, Encoding())

    content = encoded.path.read_bytes()
    index = parse_index(
        content[: encoded.payload.index_bytes],
        sha256=encoded.payload.index_sha256,
        image_bytes=len(image),
        payload_bytes=len(content),
    )
    assert index.window_bytes == WINDOW_BYTES
    for entry in index.entries:
        record = content[entry.record_offset : entry.record_offset + entry.record_length]
        limited = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 18})
        assert len(limited.decompress(record)) == entry.length_bytes


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "empty"), (noise(513), "pad it"), (noise(4095), "pad it")]
)
def test_an_image_without_whole_sectors_is_refused_and_nothing_stays(
    tmp_path: Path, content: bytes, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        encode(content, tmp_path)

    assert list(tmp_path.iterdir()) == []
