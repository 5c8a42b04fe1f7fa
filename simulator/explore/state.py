"""One durable state: what a power cut leaves of a device, and what the world outside keeps of it.

Two states are the same when every sector, every small file and every stored report are the same, but for
what no decision ever reads: dates in the journal, the identity of a boot that is over, and counts of
bytes for people. Of the serial numbers of a U-Boot environment only their difference counts; that they
start again after 255 happens in every exploration. A boot counter above its limit is above its limit:
power cuts inside U-Boot may raise it for ever, and it means the same.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

from agent import journal as journals
from agent.board import BoardProfile, UbootSettings
from simulator.block_device import SECTOR_BYTES

PRINT_BYTES: Final = 16
CHECKSUM_BYTES: Final = 4
HEADER_BYTES: Final = 5
ONLY_FOR_PEOPLE: Final = frozenset(("at", "boot_id", "fetched_bytes", "written_bytes"))


@dataclass(frozen=True, slots=True)
class Stored:
    """What the fleet has stored of one report: only the first with an id counts."""

    id: str
    update: str
    outcome: str
    code: str


@dataclass(frozen=True, slots=True)
class Mind:
    """What a chip with MCUboot knows as long as it has power: the program that runs, and its upload."""

    mode: str
    recovery_next: bool
    slot: int = 1
    offset: int = 0
    length: int = 0
    sha: bytes = b""
    erased_pages: int = 0


@dataclass(frozen=True, slots=True)
class ChipState:
    """The flash of one chip as far as images may use it, all that its bootloader keeps included.

    `mind` is None for a chip that lost its power, and for one to which that makes no difference.
    """

    flash: bytes
    mind: Mind | None = None


@dataclass(frozen=True, slots=True)
class DurableState:
    """Everything that a device and its world still know when the power is gone; chips by name."""

    files: Mapping[str, bytes]
    devices: Mapping[str, bytes]
    stored: tuple[Stored, ...] = ()
    chips: Mapping[str, ChipState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Copies:
    """Where the two copies of a U-Boot environment lie: device and first byte of each."""

    places: tuple[tuple[str, int], ...] = ()
    size_bytes: int = 0
    count: bytes = b""
    limit: bytes = b""

    @property
    def paths(self) -> frozenset[str]:
        """The devices that hold a copy."""
        return frozenset(path for path, _ in self.places)


def copies_of(profile: BoardProfile) -> Copies:
    """The copies that a board's bootloader has; none when it is not U-Boot."""
    boot = profile.boot
    if not isinstance(boot, UbootSettings):
        return Copies()
    places = tuple((copy.device, copy.offset) for copy in boot.copies)
    return Copies(places, boot.size_bytes, boot.boot_count.encode(), boot.boot_limit.encode())


@dataclass(slots=True)
class Fingerprints:
    """Names states by 128 bits: the exclusive or of a hash of each part, all of them kept.

    So a state that differs in one sector is named without looking at the others.
    """

    copies: Copies = field(default_factory=Copies)
    _environments: dict[tuple[bytes, ...], int] = field(default_factory=dict)
    _sectors: dict[tuple[str, int, bytes], int] = field(default_factory=dict)
    _devices: dict[tuple[str, bytes], int] = field(default_factory=dict)
    _files: dict[tuple[str, bytes], int] = field(default_factory=dict)
    _stored: dict[tuple[Stored, ...], int] = field(default_factory=dict)
    _chips: dict[tuple[str, ChipState], int] = field(default_factory=dict)

    def state(self, state: DurableState) -> int:
        """The name of a whole state."""
        name = self.files(state.files) ^ self.stored(state.stored) ^ self.boot_state(state.devices)
        name ^= self.chips(state.chips)
        for path, content in state.devices.items():
            if path not in self.copies.paths:
                name ^= self.device(path, content)
        return name

    def boot_state(self, devices: Mapping[str, bytes]) -> int:
        """The devices that hold copies of an environment."""
        paths = sorted(self.copies.paths)
        key = tuple(devices[path] for path in paths)
        found = self._environments.get(key)
        if found is None:
            found = self._environments[key] = self._boot_state(
                {path: bytearray(devices[path]) for path in paths}
            )
        return found

    def _boot_state(self, devices: dict[str, bytearray]) -> int:
        """By what each copy says; the bytes themselves where there is none that counts."""
        size_bytes = self.copies.size_bytes
        serials: list[int | None] = []
        told = b""
        for path, offset in self.copies.places:
            copy = bytes(devices[path][offset : offset + size_bytes])
            if int.from_bytes(copy[:CHECKSUM_BYTES], "little") == crc32(copy[HEADER_BYTES:]):
                serials.append(copy[CHECKSUM_BYTES])
                told += self._said(copy)
                devices[path][offset : offset + size_bytes] = bytes(size_bytes)
            else:
                serials.append(None)
        told += repr(_differences(serials)).encode()
        return fingerprint("environment", "", "", told + b"".join(devices.values()))

    def _said(self, copy: bytes) -> bytes:
        """The variables of a copy, the counter no higher than just above its limit."""
        entries = copy[HEADER_BYTES:].partition(b"\0\0")[0].split(b"\0")
        variables = dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)
        limit = int(variables.get(self.copies.limit, b"0"))
        count = int(variables.get(self.copies.count, b"0"))
        variables[self.copies.count] = b"%d" % min(count, limit + 1)
        return repr(sorted(variables.items())).encode()

    def sector(self, path: str, number: int, content: bytes) -> int:
        """One sector of one device."""
        key = (path, number, content)
        found = self._sectors.get(key)
        if found is None:
            found = self._sectors[key] = fingerprint("sector", path, str(number), content)
        return found

    def device(self, path: str, content: bytes) -> int:
        """All sectors of one device."""
        key = (path, content)
        found = self._devices.get(key)
        if found is None:
            found = 0
            for start in range(0, len(content), SECTOR_BYTES):
                piece = content[start : start + SECTOR_BYTES]
                found ^= self.sector(path, start // SECTOR_BYTES, piece)
            self._devices[key] = found
        return found

    def files(self, files: Mapping[str, bytes]) -> int:
        """All small files."""
        name = 0
        for file, content in files.items():
            found = self._files.get((file, content))
            if found is None:
                told = essence(content) if file == journals.FILE else content
                found = self._files[file, content] = fingerprint("file", file, "", told)
            name ^= found
        return name

    def stored(self, stored: tuple[Stored, ...]) -> int:
        """What the fleet has stored."""
        found = self._stored.get(stored)
        if found is None:
            found = self._stored[stored] = fingerprint("stored", "", "", repr(stored).encode())
        return found

    def chips(self, chips: Mapping[str, ChipState]) -> int:
        """All chips."""
        name = 0
        for one in chips.items():
            found = self._chips.get(one)
            if found is None:
                chip, state = one
                told = repr(state.mind)
                found = self._chips[one] = fingerprint("chip", chip, told, state.flash)
            name ^= found
        return name


def essence(content: bytes) -> bytes:
    """A journal without what is only for people; the bytes themselves when it cannot be read."""
    try:
        document = json.loads(content)
    except ValueError:
        return content
    if not isinstance(document, dict) or "body" not in document:
        return content
    return json.dumps(_without(document["body"]), sort_keys=True).encode()


def _differences(serials: list[int | None]) -> tuple[int | None, ...]:
    known = next((serial for serial in serials if serial is not None), 0)
    return tuple(None if serial is None else (serial - known) % 256 for serial in serials)


def _without(value: object) -> object:
    match value:
        case dict():
            return {key: _without(one) for key, one in value.items() if key not in ONLY_FOR_PEOPLE}
        case list():
            return [_without(one) for one in value]
        case _:
            return value


def fingerprint(kind: str, name: str, place: str, content: bytes) -> int:
    """128 bits of one part of a state."""
    digest = hashlib.blake2b(f"{kind}\n{name}\n{place}\n".encode(), digest_size=PRINT_BYTES)
    digest.update(content)
    return int.from_bytes(digest.digest(), "little")
