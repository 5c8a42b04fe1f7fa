"""Full and delta payloads with lies in them, and what a device may make of each.

A lie is signed or not: signed ones have the hashes and lengths that the release manifest would name.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

from backports import zstd

from agent.delta_index import COLUMNS, PACKED, PACKED_MAGIC, parse_delta_index
from agent.errors import PayloadError, UpdateError
from agent.install import Job, Meter, install
from agent.payload import ENTRY, HEADER, Kind, Source, parse_index
from agent.release import DELTA, IMAGE_BYTES_MAX, Payload
from agent.update import Installation
from fleet.payload import Encoding
from tests.core.payloads import Mirror, Slot, noise
from tests.payload.bench import installation
from tests.payload.pair import made

WINDOW: Final = 4096
ODD: Final = tuple(
    place + step for place in (0, 511, 2**16, 2**31, 2**32, 2**63) for step in (-1, 0, 1)
)
BOMB_BYTES: Final = 64 * 1024 * 1024
OFFERED: Final = 4
"""So many times the length of both payloads is more than any device needs to ask for."""


@dataclass(frozen=True, slots=True)
class Blob:
    """One payload as a mirror has it, and what the release manifest says of it."""

    payload: Payload
    content: bytes

    def index(self) -> bytes:
        """The index, or its columns."""
        head = self.content[: self.payload.index_bytes]
        if self.payload.kind != DELTA:
            return head
        return zstd.decompress(head[PACKED.size :])

    def with_index(self, index: bytes) -> "Blob":
        """The same data behind another index, signed. In a full payload it is as long as before."""
        if self.payload.kind == DELTA:
            return self.with_head(PACKED.pack(PACKED_MAGIC, len(index)) + zstd.compress(index))
        return self.with_head(index)

    def with_head(self, head: bytes) -> "Blob":
        """The same data behind another index as it travels, signed."""
        content = head + self.content[self.payload.index_bytes :]
        sha256 = hashlib.sha256(head).hexdigest()
        signed = {"index_bytes": len(head), "index_sha256": sha256, "length_bytes": len(content)}
        return Blob(replace(self.payload, **signed), content)  # type: ignore[arg-type]  # each of its type


@dataclass(frozen=True, slots=True)
class Offer:
    """An image with both of its payloads, beside the base of one."""

    image: bytes
    base: bytes
    installation: Installation
    full: Blob
    delta: Blob

    def without_delta(self) -> "Offer":
        """The full payload alone."""
        return replace(self, installation=replace(self.installation, delta=None))

    def lying(self, blob: Blob, *, served: bytes | None = None) -> "Offer":
        """With another payload in place of the one of its kind; a mirror may serve other bytes still."""
        shown = Blob(blob.payload, blob.content if served is None else served)
        if blob.payload.kind == DELTA:
            return replace(
                self, delta=shown, installation=replace(self.installation, delta=blob.payload)
            )
        return replace(
            self, full=shown, installation=replace(self.installation, payload=blob.payload)
        )


def make_offer(folder: Path) -> Offer:
    """An honest one, from the operator's own encoders, with windows of all kinds."""
    old = noise(9 * WINDOW, 1) + b"text " * 4000 + bytes(2 * WINDOW)
    changed = bytearray(old[: 6 * WINDOW])
    for place in range(3 * WINDOW, 5 * WINDOW, 400):
        changed[place] ^= 0x11
    new = bytes(changed) + noise(2 * WINDOW, 2) + b"moved" + old[6 * WINDOW : 12 * WINDOW - 5]
    new += b"other words " * 700 + bytes(WINDOW)
    new += bytes(-len(new) % 512)
    for name, content in (("old", old + bytes(-len(old) % 512)), ("new", new)):
        (folder / name).write_bytes(content)
    pair = made(
        folder / "old", folder / "new", folder / "blobs", Encoding(threads=1, window_bytes=WINDOW)
    )
    wanted = installation(pair.image.image)
    assert wanted.delta is not None
    full, delta = (
        Blob(payload, (pair.blobs / payload.blob).read_bytes())
        for payload in (wanted.payload, wanted.delta)
    )
    return Offer(pair.new, pair.old, wanted, full, delta)


@dataclass(slots=True)
class Outcome:
    """How an installation ended: with the image, or with an error in words."""

    error: UpdateError | None
    written: bool
    findings: list[str] = field(default_factory=list)


def take(offer: Offer, *, harmless: bool) -> Outcome:
    """Install what is offered. `harmless` says that the full payload is honest: the image must arrive."""
    mirror = Mirror()
    mirror.blobs[offer.installation.payload.path] = offer.full.content
    if offer.installation.delta is not None:
        mirror.blobs[offer.installation.delta.path] = offer.delta.content
    slot = Slot(bytearray(noise(len(offer.image) + WINDOW, 99)), mirror)
    base = Slot(bytearray(offer.base), mirror)
    outcome = Outcome(None, written=False)
    try:
        install((Job(offer.installation, slot, base),), mirror, Meter(), lambda: None)
    except UpdateError as error:
        outcome.error = error.with_traceback(None)  # which would keep all of this in memory
    outcome.written = bool(slot.writes())
    outcome.findings = list(_judge(offer, outcome, slot, mirror, harmless=harmless))
    if base.deeds:
        outcome.findings.append("the active slot was written")
    return outcome


def _judge(
    offer: Offer, outcome: Outcome, slot: Slot, mirror: Mirror, *, harmless: bool
) -> Iterator[str]:
    length = offer.installation.length_bytes
    if outcome.error is None and slot.content[: len(offer.image)] != offer.image:
        yield "it ended well with another image"
    if outcome.error is not None and harmless:
        yield f"the full payload is honest, it was refused: {outcome.error}"
    if outcome.error is not None and outcome.written and slot.content[:512] != bytes(512):
        yield "it failed, and the slot can start"
    offered = (offer.full, offer.delta) if offer.installation.delta else (offer.full,)
    if outcome.written and not any(sound(blob, length) for blob in offered):
        yield "every index lies, and something was written"
    offered_bytes = sum(len(blob.content) for blob in offered)
    if mirror.sent_bytes > OFFERED * offered_bytes:
        yield f"{mirror.sent_bytes} bytes were fetched of {offered_bytes}"


def sound(blob: Blob, image_bytes: int) -> bool:
    """Whether an index can be read as the manifest names it."""
    payload, head = blob.payload, blob.content[: blob.payload.index_bytes]
    sha256, payload_bytes = payload.index_sha256, payload.length_bytes
    with suppress(PayloadError):
        if payload.kind == DELTA:
            parse_delta_index(
                head,
                sha256=sha256,
                image_bytes=image_bytes,
                payload_bytes=payload_bytes,
                base_bytes=payload.base_bytes,
            )
        else:
            parse_index(head, sha256=sha256, image_bytes=image_bytes, payload_bytes=payload_bytes)
        return True
    return False


Lie = Callable[[Offer, Random], tuple[Offer, bool]]
"""An offer with a lie in it, and whether it is harmless: the SHA-256 of a window in a signed index is not."""


def _either(offer: Offer, chance: Random) -> tuple[Blob, bool]:
    """One of the payloads; a lie in the delta is harmless."""
    return (offer.delta, True) if chance.randrange(2) else (offer.full, False)


def _spoil(content: bytes, chance: Random) -> bytes:
    """Other bytes in a few places, some of them gone, or more of them."""
    spoilt = bytearray(content)
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(spoilt))
        match chance.randrange(4):
            case 0:
                spoilt[place] ^= 1 << chance.randrange(8)
            case 1:
                spoilt[place : place + 8] = chance.randbytes(8)
            case 2:
                del spoilt[place : place + chance.randrange(1, 100)]
            case _:
                spoilt[place:place] = chance.randbytes(chance.randrange(1, 100))
        if not spoilt:
            return b"\0"
    return bytes(spoilt)


def signed_index(offer: Offer, chance: Random) -> tuple[Offer, bool]:
    """Any bytes of an index are other ones."""
    blob, _ = _either(offer, chance)
    return offer.lying(blob.with_index(_spoil(blob.index(), chance))), False


def signed_head(offer: Offer, chance: Random) -> tuple[Offer, bool]:
    """Any bytes of a packed index are other ones."""
    blob = offer.delta
    head = _spoil(blob.content[: blob.payload.index_bytes], chance)
    return offer.lying(blob.with_head(head)), False


@dataclass(frozen=True, slots=True)
class Number:
    """Where the bytes of a number stand, the lowest first."""

    places: range

    def read(self, index: bytes | bytearray) -> int:
        """The number there."""
        return int.from_bytes(bytes(index[place] for place in self.places), "little")

    def write(self, index: bytearray, value: int) -> None:
        """Put another there, as much as fits of it."""
        for place in self.places:
            index[place] = value & 0xFF
            value >>= 8


def odd_number(offer: Offer, chance: Random) -> tuple[Offer, bool]:
    """A number of the header or of an entry is one at which programs fail."""
    blob, harmless = _either(offer, chance)
    index = bytearray(blob.index())
    known = _numbers_of_columns(index) if blob.payload.kind == DELTA else _numbers(index)
    chance.choice(known).write(index, chance.choice(ODD) % 2**64)
    return offer.lying(blob.with_index(bytes(index))), harmless


def _number(at: int, length: int) -> Number:
    return Number(range(at, at + length))


def _numbers(index: bytearray) -> list[Number]:
    """Every number of a full payload's index: `docs/payload.md` has them."""
    found = [_number(8, 4), _number(12, 4), _number(16, 8)]
    for at in range(HEADER.size, len(index), ENTRY.size):
        found += [_number(at + 32, 1), _number(at + 33, 3)]
        found += [_number(at + 36, 4), _number(at + 40, 8)]
    return found


def _numbers_of_columns(index: bytearray) -> list[Number]:
    """Every number of a delta payload's columns."""
    found = [_number(0, 4), _number(4, 4), _number(8, 8), _number(16, 4)]
    heads, end = _heads(index)
    entries = found[3].read(index)
    references = sum(one.read(index) for one in heads[2 * entries : 4 * entries])
    with_record = sum(one.read(index) > 0 for one in heads[4 * entries :])
    end += 32 * (entries + with_record)
    zeros = index[end : end + references].count(Source.ZEROS)
    for count, width in ((references, 1), (references, 4), (references - zeros, 8)):
        found += _planes(end, count, width)
        end += count * width
    return found + heads


def _heads(index: bytearray) -> tuple[list[Number], int]:
    """The columns with one number for each entry, and where they end."""
    entries = int.from_bytes(index[16:20], "little")
    found: list[Number] = []
    end = COLUMNS.size
    for width in (1, 1, 2, 2, 4):
        found += _planes(end, entries, width)
        end += entries * width
    return found, end


def _planes(start: int, count: int, width: int) -> list[Number]:
    return [
        Number(range(start + number, start + number + width * count, count))
        for number in range(count)
    ]


def odd_manifest(offer: Offer, chance: Random) -> tuple[Offer, bool]:
    """The manifest itself names an odd length, as far as a manifest may: 2**40, no index longer than all."""
    blob, harmless = _either(offer, chance)
    value = min(max(1, chance.choice(ODD)), IMAGE_BYTES_MAX)
    match chance.randrange(4):
        case 0:
            return replace(
                offer, installation=replace(offer.installation, length_bytes=value)
            ), False
        case 1:
            lie = replace(blob.payload, length_bytes=max(value, blob.payload.index_bytes))
        case 2:
            lie = replace(blob.payload, index_bytes=min(value, blob.payload.length_bytes))
        case _:
            lie = replace(offer.delta.payload, base_bytes=value)
            return offer.lying(Blob(lie, offer.delta.content)), True
    return offer.lying(Blob(lie, blob.content)), harmless


def other_bytes(offer: Offer, chance: Random) -> tuple[Offer, bool]:
    """A mirror serves what nobody signed, or only a part."""
    blob, harmless = _either(offer, chance)
    served = _spoil(blob.content, chance)
    return offer.lying(blob, served=served), harmless


def bomb(offer: Offer, chance: Random) -> tuple[Offer, bool]:
    """A record that becomes far more than its window, signed; or an index that does."""
    frame = _bomb()
    if chance.randrange(4) == 0:
        head = PACKED.pack(PACKED_MAGIC, chance.choice((HEADER.size, 10**6, 2**32 - 1))) + frame
        return offer.lying(offer.delta.with_head(head)), True
    blob, harmless = _either(offer, chance)
    return offer.lying((_delta_bomb if harmless else _full_bomb)(blob, frame, chance)), harmless


def _full_bomb(blob: Blob, frame: bytes, chance: Random) -> Blob:
    """Behind all records; one entry of kind zstd says that it is its record."""
    index = bytearray(blob.index())
    at = chance.choice(
        [at for at in range(HEADER.size, len(index), ENTRY.size) if index[at + 32] == Kind.ZSTD]
    )
    row = list(ENTRY.unpack_from(index, at))
    row[3:] = [len(frame), len(blob.content), hashlib.sha256(frame).digest()]
    ENTRY.pack_into(index, at, *row)
    lying = blob.with_index(bytes(index))
    content = lying.content + frame
    return Blob(replace(lying.payload, length_bytes=len(content)), content)


def _delta_bomb(blob: Blob, frame: bytes, chance: Random) -> Blob:
    """In the place of one record."""
    index = bytearray(blob.index())
    heads, hashes = _heads(index)
    entries = len(heads) // 5
    kinds, lengths = heads[:entries], heads[4 * entries :]
    with_record = [number for number, one in enumerate(lengths) if one.read(index)]
    wanted = (Kind.ZSTD, Kind.PREFIXED, Kind.DIFFERENCE)
    number = chance.choice([one for one in with_record if kinds[one].read(index) in wanted])
    start = blob.payload.index_bytes + sum(one.read(index) for one in lengths[:number])
    end = start + lengths[number].read(index)
    lengths[number].write(index, len(frame))
    at = hashes + 32 * (entries + with_record.index(number))
    index[at : at + 32] = hashlib.sha256(frame).digest()
    return Blob(blob.payload, blob.content[:start] + frame + blob.content[end:]).with_index(
        bytes(index)
    )


@cache
def _bomb() -> bytes:
    return zstd.compress(bytes(BOMB_BYTES))


LIES: Final[dict[str, Lie]] = {
    "signed index": signed_index,
    "packed index": signed_head,
    "odd number": odd_number,
    "odd manifest": odd_manifest,
    "other bytes": other_bytes,
    "bomb": bomb,
}
