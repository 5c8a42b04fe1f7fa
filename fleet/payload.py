"""Makes the full payload of an image: every window on its own, as small as zstd makes it.

The layout is in `agent/payload.py`. The result depends on the image, the level and the zstd library
only: not on threads, names or the time. Memory is bounded by a few windows for each thread.
"""

import hashlib
import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final, Protocol

from agent.errors import ConfigError, StateError
from agent.payload import (
    ENTRY,
    FULL_KINDS,
    HEADER,
    INDEX_BYTES_MAX,
    WINDOW_BYTES,
    Kind,
    PayloadIndex,
    WindowEntry,
    encode_index,
    index_length,
    windows_digest,
)
from agent.release import FULL, SLOTS, Image, Payload
from fleet import files

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL: Final = 12
LEVELS: Final = range(1, 20)
SECTOR_BYTES: Final = 512
NO_RECORD: Final = bytes(32)
AHEAD: Final = 3
"""Windows under way for each thread: enough to keep it busy, few enough to stay small."""
WINDOWS_MAX: Final = (INDEX_BYTES_MAX - HEADER.size) // ENTRY.size
COPY_BYTES: Final = 1024 * 1024

Progress = Callable[[], None]


class ImageSource(Protocol):
    """What `encode_full` reads; `fleet.images.ImageStream` is one."""

    def read(self, length_bytes: int) -> bytes:
        """Exactly this many bytes of the image, or the rest of it."""
        ...


@dataclass(frozen=True, slots=True)
class Encoding:
    """How windows are coded; `threads` changes the time that it takes and nothing else."""

    level: int = LEVEL
    threads: int = 0
    window_bytes: int = WINDOW_BYTES

    @property
    def workers(self) -> int:
        """How many threads; 0 means one for each processor."""
        return self.threads or os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A payload on disk, and what the release manifest says of it and of its image."""

    length_bytes: int
    sha256: str
    payload: Payload
    windows: dict[Kind, int]
    path: Path
    windows_sha256: str


def slot_image(encoded: EncodedImage, hardware_id: str, part: str) -> Image:
    """What a release manifest says of an image for a part of the slots, with its full payload alone."""
    return Image(
        hardware_id=hardware_id,
        component=SLOTS,
        part=part,
        length_bytes=encoded.length_bytes,
        sha256=encoded.sha256,
        payloads=(encoded.payload,),
        windows_sha256=encoded.windows_sha256,
    )


@dataclass(frozen=True, slots=True)
class _Coded:
    """One window, coded; an empty record for zeros."""

    length_bytes: int
    sha256: bytes
    kind: Kind
    record: bytes


def encode_full(
    image: ImageSource, folder: Path, encoding: Encoding, progress: Progress
) -> EncodedImage:
    """Read an image to its end and store its full payload as `folder/SHA256`.

    `progress` is called after every window. Raises `ConfigError` for an image that is empty or does not
    end with a sector, `StateError` when the disk does not take the payload. A cut leaves `.part` files.
    """
    digest = hashlib.sha256()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=".records-", suffix=".part", dir=folder) as records:
            entries = _code_windows(image, records, digest, encoding, progress)
            index = _index(entries, encoding.window_bytes)
            records.seek(0)
            payload, path = _store(index, records, folder)
    except OSError as error:
        raise StateError(
            f"{folder}: the payload cannot be written: {error.strerror}{files.advice(error)}"
        ) from error
    return EncodedImage(
        length_bytes=index.image_bytes,
        sha256=digest.hexdigest(),
        payload=payload,
        windows={kind: sum(entry.kind is kind for entry in entries) for kind in sorted(FULL_KINDS)},
        path=path,
        windows_sha256=windows_digest(entry.sha256 for entry in entries).hex(),
    )


class _Digest(Protocol):
    def update(self, content: bytes, /) -> None: ...


def _code_windows(
    image: ImageSource,
    records: IO[bytes],
    digest: _Digest,
    encoding: Encoding,
    progress: Progress,
) -> list[WindowEntry]:
    """Code all windows, write their records in order; offsets count from the first record."""
    entries: list[WindowEntry] = []
    under_way: deque[Future[_Coded]] = deque()

    def take() -> None:
        coded = under_way.popleft().result()
        entries.append(_entry(coded, entries[-1] if entries else None, records.tell()))
        records.write(coded.record)
        progress()

    with ThreadPoolExecutor(encoding.workers) as pool:
        while window := image.read(encoding.window_bytes):
            digest.update(window)
            if len(entries) + len(under_way) == WINDOWS_MAX:
                raise ConfigError(f"an image of at most {WINDOWS_MAX} windows was expected")
            under_way.append(pool.submit(_code, window, encoding.level))
            if len(under_way) >= encoding.workers * AHEAD:
                take()
            if len(window) < encoding.window_bytes:
                break
        while under_way:
            take()
    return entries


def _code(window: bytes, level: int) -> _Coded:
    sha256 = hashlib.sha256(window).digest()
    if window.count(0) == len(window):
        return _Coded(len(window), sha256, Kind.ZEROS, b"")
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: level,
        # The device keeps zstd's window in memory: no more than one of ours is of any use.
        zstd.CompressionParameter.window_log: max(10, (len(window) - 1).bit_length()),
        zstd.CompressionParameter.content_size_flag: 1,
        zstd.CompressionParameter.checksum_flag: 0,  # the record's and the window's SHA-256 say more
    }
    record = zstd.compress(window, options=options)
    if len(record) >= len(window):
        return _Coded(len(window), sha256, Kind.PLAIN, window)
    return _Coded(len(window), sha256, Kind.ZSTD, record)


def _entry(coded: _Coded, before: WindowEntry | None, record_offset: int) -> WindowEntry:
    zeros = coded.kind is Kind.ZEROS
    return WindowEntry(
        offset=before.offset + before.length_bytes if before else 0,
        length_bytes=coded.length_bytes,
        sha256=coded.sha256,
        kind=coded.kind,
        record_offset=0 if zeros else record_offset,
        record_length=len(coded.record),
        record_sha256=NO_RECORD if zeros else hashlib.sha256(coded.record).digest(),
    )


def _index(entries: list[WindowEntry], window_bytes: int) -> PayloadIndex:
    """The index, now that its own length is known and offsets can count from its start."""
    image_bytes = sum(entry.length_bytes for entry in entries)
    if not image_bytes:
        raise ConfigError("the image is empty; was the build finished?")
    if rest := image_bytes % SECTOR_BYTES:
        raise ConfigError(
            f"an image of whole {SECTOR_BYTES}-byte sectors was expected, {image_bytes} bytes found "
            f"({rest} too many); pad it: truncate --size=%{SECTOR_BYTES} FILE"
        )
    before_records = index_length(image_bytes, window_bytes)
    return PayloadIndex(
        window_bytes=window_bytes,
        image_bytes=image_bytes,
        entries=tuple(
            entry
            if entry.kind is Kind.ZEROS
            else replace(entry, record_offset=entry.record_offset + before_records)
            for entry in entries
        ),
    )


def _store(index: PayloadIndex, records: IO[bytes], folder: Path) -> tuple[Payload, Path]:
    head = encode_index(index)
    blob, length_bytes = store_blob(head, records, folder)
    payload = Payload(
        kind=FULL,
        blob=blob,
        length_bytes=length_bytes,
        index_bytes=len(head),
        index_sha256=hashlib.sha256(head).hexdigest(),
    )
    return payload, folder / blob


def store_blob(head: bytes, records: IO[bytes], folder: Path) -> tuple[str, int]:
    """Write index and records as one file under its own SHA-256, which is returned with its length.

    Durable on return; a cut leaves a `.part` file.
    """
    digest = hashlib.sha256(head)
    descriptor, name = tempfile.mkstemp(prefix=".payload-", suffix=".part", dir=folder)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(head)
            while block := records.read(COPY_BYTES):
                digest.update(block)
                file.write(block)
            length_bytes = file.tell()
        part.chmod(0o644)
        files.sync(part)
        part.replace(folder / digest.hexdigest())
        files.sync(folder)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return digest.hexdigest(), length_bytes
