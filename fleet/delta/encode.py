"""Makes the delta payload of an image against a base, out of the full payloads of both.

The result depends on the two images, the full payload and the zstd library only: not on the number of
processes. Every process maps the same files; its own memory is bounded by a few windows.
"""

import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Final

from agent.errors import StateError
from agent.payload import (
    INDEX_BYTES_MAX,
    Kind,
    PayloadIndex,
    WindowEntry,
)
from agent.release import DELTA, Payload
from fleet.delta.columns import pack_index
from fleet.delta.pair import Pair, Progress
from fleet.delta.restore import read_full_index, restore
from fleet.delta.runs import joined
from fleet.delta.shingles import POSITION_MASK
from fleet.delta.tables import BASE_FILE, IMAGE_FILE, Tables, make_tables, open_tables
from fleet.delta.window import Coding, Span, code_windows
from fleet.payload import NO_RECORD, store_blob

WORTH: Final = 0.9
"""A delta that is longer than this part of the full payload is not made."""
TOGETHER: Final = 8
"""Windows that are searched side by side."""
AHEAD: Final = 2


def encode_delta(pair: Pair, folder: Path, workers: int, progress: Progress) -> Payload | None:
    """Store the delta payload as `folder/SHA256`; None when it would save too little.

    `workers` of 0 means one process for each processor. Raises `StateError` for payloads that are
    missing or damaged, and for a full disk. A cut leaves `.part` files and a `.delta-` folder.
    """
    base, new = pair.base, pair.new
    if max(base.image.length_bytes, new.image.length_bytes) > POSITION_MASK:
        return None
    try:
        with tempfile.TemporaryDirectory(prefix=".delta-", dir=folder) as name:
            work = Path(name)
            restore(base.path, base.payload, base.image, work / BASE_FILE)
            restore(new.path, new.payload, new.image, work / IMAGE_FILE)
            make_tables(work)
            index = read_full_index(new.path, new.payload, new.image.length_bytes)
            with (work / "records").open("w+b") as records:
                entries = list(index.entries)
                coded = _coded(pair, index, work, workers)
                for done, (number, entry, record) in enumerate(coded, start=1):
                    entries[number] = _placed(entry, record, records)
                    progress(done, len(entries))
                runs = joined(entries, index.window_bytes)
                return _store(replace(index, entries=runs), records, pair, folder)
    except OSError as error:
        raise StateError(f"{folder}: the delta cannot be made: {error.strerror}") from error


def _placed(entry: WindowEntry, record: bytes, records: IO[bytes]) -> WindowEntry:
    """The entry with its record written; offsets count from the first one, as in a packed index."""
    offset = records.tell() if record else 0
    records.write(record)
    return replace(
        entry,
        record_offset=offset,
        record_length=len(record),
        record_sha256=hashlib.sha256(record).digest() if record else NO_RECORD,
    )


def _coded(
    pair: Pair, index: PayloadIndex, work: Path, workers: int
) -> Iterator[tuple[int, WindowEntry, bytes]]:
    """Every window that is not zeros, with its record, in order."""
    entries = index.entries
    filled = [number for number, one in enumerate(entries) if one.kind is not Kind.ZEROS]
    groups = [filled[start : start + TOGETHER] for start in range(0, len(filled), TOGETHER)]
    tasks = [[_span(entries[number]) for number in group] for group in groups]
    with pair.new.path.open("rb") as full:
        for group, codings in zip(groups, _codings(tasks, work, workers), strict=True):
            for number, coding in zip(group, codings, strict=True):
                entry = entries[number]
                if coding is None:
                    record = os.pread(full.fileno(), entry.record_length, entry.record_offset)
                    yield number, entry, record
                else:
                    made = replace(entry, kind=coding.kind, packed_references=coding.references)
                    yield number, made, coding.record


def _span(entry: WindowEntry) -> Span:
    return Span(entry.offset, entry.offset + entry.length_bytes, entry.record_length)


def _codings(tasks: list[list[Span]], work: Path, workers: int) -> Iterator[list[Coding | None]]:
    """The codings of each group of windows, in order, from as many processes."""
    count = min(workers or os.cpu_count() or 1, len(tasks))
    if count <= 1:
        tables = open_tables(work)
        yield from (code_windows(tables, spans) for spans in tasks)
        return
    under_way: deque[Future[list[Coding | None]]] = deque()
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        for spans in tasks:
            under_way.append(pool.submit(_code_in_process, work, spans))
            if len(under_way) >= count * AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


@cache
def _opened(work: Path) -> Tables:
    return open_tables(work)


def _code_in_process(work: Path, spans: list[Span]) -> list[Coding | None]:
    return code_windows(_opened(work), spans)


def _store(index: PayloadIndex, records: IO[bytes], pair: Pair, folder: Path) -> Payload | None:
    head = pack_index(index)
    length = len(head) + records.tell()
    if length > WORTH * pair.new.payload.length_bytes or len(head) > INDEX_BYTES_MAX:
        return None
    records.seek(0)
    blob, length_bytes = store_blob(head, records, folder)
    return Payload(
        kind=DELTA,
        blob=blob,
        length_bytes=length_bytes,
        index_bytes=len(head),
        index_sha256=hashlib.sha256(head).hexdigest(),
        base_sha256=pair.base.image.sha256,
        base_bytes=pair.base.image.length_bytes,
    )
