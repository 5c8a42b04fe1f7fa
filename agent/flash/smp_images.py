"""The image group of SMP: what the slots hold, and bringing bytes into one of them.

Source: Zephyr's "Image Management" group; MCUboot's `boot_serial.c` for serial recovery.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.errors import FlashLineError, FlashRefusedError, FlashVerifyError
from agent.flash.cbor import Value, encode
from agent.flash.smp import (
    FRAME_OVERHEAD_BYTES,
    HEADER,
    IMAGE_ERASE,
    IMAGE_LIST,
    IMAGE_STATE,
    IMAGE_UPLOAD,
    PARAMETERS,
    SmpClient,
    SmpRefusal,
)

BUFFER_BYTES_MIN: Final = 128
BUFFER_BYTES_MAX: Final = 8192
UNDER_WAY_MAX: Final = 8
"""Requests of an upload before the first is answered; two fill any line that is slower than its answers."""
ALONE_REQUESTS: Final = 8
"""So many go one at a time after the first loss among several, twice as many after each further one."""
NO_MEMORY: Final = 2
SETBACKS_MAX: Final = 16
"""How often a server may ask for what it was already sent: after a restart, or when its buffer drops."""
SLOTS_MAX: Final = 16
UPLOAD_ATTEMPTS_MAX: Final = 10
"""For one part of an image: a part fills many lines, each of which a noisy wire may spoil."""


@dataclass(frozen=True, slots=True)
class SlotState:
    """One row of the image list.

    During the trial of an image the slot that it came from is listed as `confirmed`: it is what a
    revert goes back to. `hash` is None where the server does not tell it, as some bootloaders.
    """

    image: int
    slot: int
    version: str
    hash: bytes | None
    pending: bool
    confirmed: bool
    active: bool
    permanent: bool


@dataclass(frozen=True, slots=True)
class Buffers:
    """Where a server keeps requests and answers: how large one is, and how many there are."""

    size_bytes: int
    count: int

    def requests_under_way(self, wanted: int) -> int:
        """How many requests may be on their way: the answer to one of them needs a buffer too.

        A server without a free one loses what comes, and some in the field stop altogether.
        """
        return max(1, min(wanted, self.count - 1))


def server_buffers(client: SmpClient, default_bytes: int) -> Buffers:
    """What the server says; one buffer of the default size where it does not know the question."""
    try:
        told = client.request(PARAMETERS, {})
    except SmpRefusal:
        return Buffers(default_bytes, 1)
    size, count = told.get("buf_size"), told.get("buf_count")
    if not isinstance(size, int) or size < BUFFER_BYTES_MIN:
        raise FlashRefusedError(
            f"a receive buffer of at least {BUFFER_BYTES_MIN} bytes was expected, the SMP server "
            f"names {size!r}; configure it larger in the firmware"
        )
    return Buffers(min(size, BUFFER_BYTES_MAX), count if isinstance(count, int) else 1)


def list_images(client: SmpClient) -> tuple[SlotState, ...]:
    """What all the slots hold; an empty slot is not listed."""
    return _slots(client.request(IMAGE_LIST, {}))


def wait_for_images(client: SmpClient, poll_s: float, attempts_max: int) -> None:
    """Return when a chip that starts answers at last; it is asked again and again."""
    client.request(IMAGE_LIST, {}, answer_s=poll_s, attempts_max=attempts_max)


def _slots(answer: Mapping[str, Value]) -> tuple[SlotState, ...]:
    rows = answer.get("images")
    if not isinstance(rows, list) or len(rows) > SLOTS_MAX:
        raise FlashLineError(f"a list of at most {SLOTS_MAX} images was expected, another found")
    return tuple(_slot(row) for row in rows)


def _slot(row: Value) -> SlotState:
    if not isinstance(row, dict):
        raise FlashLineError("a map for each image in the list was expected, another value found")
    image, slot, image_hash = row.get("image", 0), row.get("slot"), row.get("hash")
    if not isinstance(image, int) or not isinstance(slot, int):
        raise FlashLineError("a slot's number in the image list was expected, none found")
    return SlotState(
        image=image,
        slot=slot,
        version=_printable(row.get("version")),
        hash=image_hash if isinstance(image_hash, bytes) else None,
        pending=row.get("pending") is True,
        confirmed=row.get("confirmed") is True,
        active=row.get("active") is True,
        permanent=row.get("permanent") is True,
    )


def _printable(text: Value) -> str:
    """A version as it may stand in a log: a chip could send escape sequences."""
    if not isinstance(text, str):
        return "unknown"
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:40]


def set_trial(client: SmpClient, image_hash: bytes) -> tuple[SlotState, ...]:
    """Have the bootloader start this image once at the next reset; the slots as they are then."""
    return _slots(client.request(IMAGE_STATE, {"hash": image_hash, "confirm": False}))


def set_confirmed(client: SmpClient, image_hash: bytes) -> tuple[SlotState, ...]:
    """Keep the image with this hash, which must be the one that runs."""
    return _slots(client.request(IMAGE_STATE, {"hash": image_hash, "confirm": True}))


def erase(client: SmpClient, slot: int, erase_s: float) -> None:
    """Empty a slot that is neither running nor needed for a revert."""
    client.request(IMAGE_ERASE, {"slot": slot}, answer_s=erase_s)


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes on their way into a server's buffers of `buffer_bytes`, with `under_way` requests at once.

    `image` is sent with every request when it is not 0: a server must never have to remember which
    slot an offset belongs to. `erase_s` is the wait for the first answer, before which a server may erase
    the whole slot, `answer_s` that for the others: what comes later than this still counts.

    Until the first answer, and for a while after anything that is not as expected, each request waits
    for the answer to the one before.
    """

    content: bytes
    image: int
    buffer_bytes: int
    erase_s: float
    answer_s: float
    under_way: int = 1

    def request(self, offset: int) -> dict[str, object]:
        """The request for an offset, as full as the server's buffer allows."""
        return self._head(offset) | {"data": self.content[offset : self.end(offset)]}

    def end(self, offset: int) -> int:
        """Where the bytes of that request end."""
        head = HEADER.size + len(encode(self._head(offset) | {"data": b""})) + 2  # of long data
        return min(offset + self.buffer_bytes - FRAME_OVERHEAD_BYTES - head, len(self.content))

    def _head(self, offset: int) -> dict[str, object]:
        body: dict[str, object] = {"image": self.image} if self.image else {}
        body["off"] = offset
        if offset == 0:
            body["len"] = len(self.content)
            body["sha"] = hashlib.sha256(self.content).digest()
        return body

    def run(self, client: SmpClient, progress: Callable[[int], None]) -> None:
        """Send all of it, from wherever the server says that it is.

        The server's offset is the truth: it is further than ours when it kept an interrupted upload
        of the same bytes, and lower when it lost some. Raises `FlashVerifyError` when the server
        compared the SHA-256 and found another.
        """
        offset = setbacks = 0
        alone, pause = 0, ALONE_REQUESTS
        matches: Value = None
        while offset < len(self.content):
            if self.under_way > 1 and offset and not alone:
                offset, matches = self._run_ahead(client, offset, progress)
                alone, pause = pause, 2 * pause
                continue
            answer = client.request(
                IMAGE_UPLOAD,
                self.request(offset),
                answer_s=self.answer_s if offset else self.erase_s,
                attempts_max=UPLOAD_ATTEMPTS_MAX if offset else None,
            )
            found = answer.get("off")
            if not isinstance(found, int) or not 0 <= found <= len(self.content):
                raise FlashLineError(
                    f"an offset up to {len(self.content)} was expected in the answer to an upload, "
                    f"{found!r} found"
                )
            setbacks += found <= offset
            if setbacks > SETBACKS_MAX:
                raise FlashLineError(
                    f"the upload was to go on behind byte {offset}, the SMP server asked for "
                    f"earlier bytes {setbacks} times; look at the chip's supply and its log"
                )
            offset, matches, alone = found, answer.get("match"), max(0, alone - 1)
            progress(offset)
        if matches is False:
            raise FlashVerifyError(
                "the SHA-256 of the image was expected in the slot, the SMP server found another; "
                "upload it again"
            )

    def _run_ahead(
        self, client: SmpClient, offset: int, progress: Callable[[int], None]
    ) -> tuple[int, Value]:
        """Send from this offset with several requests on their way, to the end or the first surprise.

        Returns how far the server has come for certain, and what its last answer said of the SHA-256.
        A request that the server did not hear makes it ask for its bytes in the answer to the next.
        """
        under_way: deque[tuple[int, int]] = deque()
        sent, matches = offset, None
        while offset < len(self.content):
            while len(under_way) < self.under_way and sent < len(self.content):
                sequence = client.send(IMAGE_UPLOAD, self.request(sent))
                sent = self.end(sent)
                under_way.append((sequence, sent))
            try:
                answer = client.receive(IMAGE_UPLOAD, dict(under_way), self.answer_s)
            except SmpRefusal as refusal:
                if refusal.reason != NO_MEMORY:
                    raise
                break  # somebody else uses its buffers too
            _, end = under_way.popleft()
            if answer is None or answer.get("off") != end:
                break
            offset, matches = end, answer.get("match")
            progress(offset)
        client.traffic.fallbacks += offset < len(self.content)
        return offset, matches
