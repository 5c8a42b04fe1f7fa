"""Brings an image back out of its full payload, so that the stage need not keep it twice."""

import hashlib
import os
import sys
from pathlib import Path
from typing import Final, assert_never

from agent.errors import StateError
from agent.payload import Kind, PayloadIndex, WindowEntry, parse_index
from agent.release import Image, Payload

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WINDOW_LOG_MAX: Final = 23


def read_full_index(path: Path, payload: Payload, image_bytes: int) -> PayloadIndex:
    """The index of a full payload on disk. Raises `StateError`."""
    try:
        with path.open("rb") as file:
            content = file.read(payload.index_bytes)
    except OSError as error:
        raise StateError(
            f"{path}: the full payload of a release was expected: {error.strerror}; "
            "add the release without --from, or bring the file back"
        ) from error
    return parse_index(
        content,
        sha256=payload.index_sha256,
        image_bytes=image_bytes,
        payload_bytes=payload.length_bytes,
    )


def restore(path: Path, payload: Payload, image: Image, into: Path) -> None:
    """Write the image of a full payload to a file, with holes for zeros; its SHA-256 is checked.

    Raises `StateError` for a payload that is not what the release says.
    """
    index = read_full_index(path, payload, image.length_bytes)
    digest = hashlib.sha256()
    with path.open("rb") as file, into.open("wb") as out:
        for entry in index.entries:
            record = os.pread(file.fileno(), entry.record_length, entry.record_offset)
            window = plain_window(entry, record)
            digest.update(window)
            if entry.kind is not Kind.ZEROS:
                out.seek(entry.offset)
                out.write(window)
        out.truncate(image.length_bytes)
    if digest.hexdigest() != image.sha256:
        raise StateError(
            f"{path}: an image with SHA-256 {image.sha256[:16]} was expected inside, "
            f"{digest.hexdigest()[:16]} found; the file has changed since it was made"
        )


def plain_window(entry: WindowEntry, record: bytes) -> bytes:
    """The window of an entry that has no references."""
    match entry.kind:
        case Kind.ZEROS:
            return bytes(entry.length_bytes)
        case Kind.PLAIN:
            return record
        case Kind.ZSTD:
            options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}
            decoder = zstd.ZstdDecompressor(options=options)
            return decoder.decompress(record, entry.length_bytes)
        case Kind.COPY | Kind.PREFIXED | Kind.DIFFERENCE:
            raise AssertionError("a full payload has no such window, and its index was checked")
        case _:
            assert_never(entry.kind)
