"""The test vector of docs/payload.md is what this code reads and makes."""

import hashlib
import re
from pathlib import Path

from agent.decompress import decompress
from agent.delta_index import PACKED, parse_delta_index
from agent.payload import Range, Source, WindowEntry
from agent.windows import make_window
from fleet.delta.columns import encode_columns

DOCUMENT = Path(__file__).parents[2] / "docs" / "payload.md"
BASE = bytes(range(256)) * 4


def test_the_vector_of_the_document_is_built_into_its_image() -> None:
    document = DOCUMENT.read_text()
    plain, blob = (
        bytes.fromhex(found) for found in re.findall(r"```\n([0-9a-f\s]{100,})```", document)
    )
    packed = re.search(r"the packed index has (\d+)\)", document)
    image = re.search(r"3072 bytes, SHA-256 `([0-9a-f]{64})`", document)
    assert packed is not None
    assert image is not None
    head = blob[: int(packed[1])]

    index = parse_delta_index(
        head,
        sha256=hashlib.sha256(head).hexdigest(),
        image_bytes=3072,
        payload_bytes=len(blob),
        base_bytes=len(BASE),
    )
    built = b""

    def fetch(entry: WindowEntry) -> bytes:
        record = blob[entry.record_offset : entry.record_offset + entry.record_length]
        assert hashlib.sha256(record).digest() == entry.record_sha256
        return record

    def gather(ranges: list[Range]) -> bytes:
        sources = {Source.BASE: BASE, Source.IMAGE: built, Source.ZEROS: bytes(len(BASE))}
        return b"".join(
            sources[Source(source)][offset : offset + length] for source, length, offset in ranges
        )

    for entry in index.entries[:-1]:
        window = make_window(entry, fetch, gather)
        assert window is not None
        built += window
    run = gather(index.entries[-1].ranges())
    hashes = [hashlib.sha256(run[start : start + 512]).digest() for start in (0, 512)]
    assert hashlib.sha256(b"".join(hashes)).digest() == index.entries[-1].sha256
    built += run

    assert hashlib.sha256(built).hexdigest() == image[1]
    assert hashlib.sha256(BASE).hexdigest() in document
    assert encode_columns(index) == plain == decompress(head[PACKED.size :], len(plain))
    assert f"({len(plain)} bytes)" in document
