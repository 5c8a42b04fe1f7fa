"""What Zephyr's SMP server and MCUboot's serial recovery answer to the os and image groups.

Sources: Zephyr `img_mgmt.c`, `img_mgmt_state.c`, `os_mgmt.c`; MCUboot `boot_serial.c`. Both answer
errors as `rc`, and take a request only as far as their buffer reaches.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from simulator.mcu.mcuboot import Mcuboot, Mode, StoredImage, SwapKind
from simulator.mcu.smp_wire import Request

Body = dict[str, object]
HEADER_BYTES: Final = 32
MAGIC: Final = bytes.fromhex("3db8f396")
SECOND_SLOT: Final = 2
"""What MCUboot's serial recovery calls the second slot of the first image, if it is asked for one."""


class Reason(IntEnum):
    """SMP's error codes, as far as these groups use them."""

    UNKNOWN = 1
    NO_MEMORY = 2
    INVALID = 3
    NO_ENTRY = 5
    BAD_STATE = 6
    TOO_LARGE = 7
    NOT_SUPPORTED = 8


class ReasonError(Exception):
    """The server answers with an error."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


@dataclass(slots=True)
class ServerFaults:
    """How a server fails: `ok_without_writing` drops uploads and says yes; hashes may be another's.

    The first upload request behind each offset in `no_memory_at` finds no room for its answer.
    """

    no_memory_at: frozenset[int] = frozenset()
    ok_without_writing: bool = False
    wrong_hash: bool = False


@dataclass(slots=True)
class SmpServer:
    """One server over one bootloader's flash; `mode` says which of the two programs runs.

    `tells_parameters` False is an MCUboot from before 2026; `tells_hash` False a recovery built
    without hashes; `tells_match` True an application that compares the SHA-256 of an upload. What is
    more than a multiple of `unit_bytes` is asked for again, as by an MCUboot whose flash takes no less.
    """

    mcuboot: Mcuboot
    buffer_bytes: int = 384
    buffer_count: int = 4
    tells_parameters: bool = True
    tells_hash: bool = True
    tells_match: bool = False
    unit_bytes: int = 1
    faults: ServerFaults = field(default_factory=ServerFaults)
    mode: Mode = Mode.OFF
    reset_asked: bool = False
    recovery_asked: bool = False
    _offset: int = 0
    _length: int = 0
    _sha: bytes = b""
    _slot: int = 1
    _erased_pages: int = 0

    @property
    def buffers_now(self) -> int:
        """An application has `buffer_count`, serial recovery one."""
        return 1 if self.mode is Mode.RECOVERY else self.buffer_count

    def begin(self, mode: Mode) -> None:
        """A program starts: what was in RAM is gone."""
        self.mode = mode
        self.reset_asked = self.recovery_asked = False
        self._offset = self._length = 0
        self._sha = b""

    def answer(self, request: Request) -> Body:
        """The body of the answer."""
        commands: dict[tuple[int, int, int], Callable[[dict[object, object]], Body]] = {
            (2, 0, 5): self._reset,
            (0, 0, 6): self._parameters,
            (0, 1, 0): lambda _: self._list(),
            (2, 1, 1): self._upload,
        }
        if self.mode is Mode.APPLICATION:  # serial recovery has these only if it is built so
            commands[2, 0, 0] = self._echo
            commands[2, 1, 0] = self._state
            commands[2, 1, 5] = self._erase
        command = commands.get((request.operation, request.group, request.command))
        if command is None:
            return {"rc": int(Reason.NOT_SUPPORTED)}
        try:
            return command(request.body)
        except ReasonError as error:
            return {"rc": int(error.reason)}

    def _echo(self, body: dict[object, object]) -> Body:
        return {"r": body.get("d")}

    def _reset(self, body: dict[object, object]) -> Body:
        self.reset_asked = True
        self.recovery_asked = body.get("boot_mode") == 1
        return {}

    def _parameters(self, _: dict[object, object]) -> Body:
        if not self.tells_parameters:
            raise ReasonError(Reason.NOT_SUPPORTED)
        return {"buf_size": self.buffer_bytes, "buf_count": self.buffers_now}

    def _list(self) -> Body:
        kind = self.mcuboot.swap_kind()
        rows = []
        for slot in (0, 1):
            image = self.mcuboot.image(slot)
            if image is not None:
                rows.append(self._row(slot, image, kind))
        return {"images": rows, "splitStatus": 0}

    def _row(self, slot: int, image: StoredImage, kind: SwapKind) -> Body:
        row: Body = {"slot": slot, "version": image.version}
        if self.mode is Mode.APPLICATION or self.tells_hash:
            row["hash"] = bytes(32) if self.faults.wrong_hash else image.hash
        if self.mode is Mode.RECOVERY:
            return row
        asked = kind in {SwapKind.TEST, SwapKind.PERMANENT}
        row["bootable"] = True
        row["pending"] = slot == 1 and asked
        # During a trial the slot that the image came from is what a revert would start.
        row["confirmed"] = slot == (1 if kind is SwapKind.REVERT else 0)
        row["active"] = slot == 0
        row["permanent"] = slot == 1 and kind is SwapKind.PERMANENT
        return row

    def _state(self, body: dict[object, object]) -> Body:
        wanted, confirm = body.get("hash"), body.get("confirm") is True
        slots = [
            slot
            for slot in (0, 1)
            if (image := self.mcuboot.image(slot)) is not None and image.hash == wanted
        ]
        if wanted is None and not confirm:
            raise ReasonError(Reason.INVALID)
        if wanted is not None and not slots:
            raise ReasonError(Reason.NO_ENTRY)
        slot = slots[0] if slots else 0
        kind = self.mcuboot.swap_kind()
        if slot == 0:
            if not confirm or kind in {SwapKind.TEST, SwapKind.PERMANENT}:
                raise ReasonError(Reason.BAD_STATE)
            self.mcuboot.confirm()
        elif kind is SwapKind.REVERT:  # the second slot is the way back
            raise ReasonError(Reason.BAD_STATE)
        else:
            self.mcuboot.request_swap(permanent=confirm)
        return self._list()

    def _erase(self, body: dict[object, object]) -> Body:
        if body.get("slot", 1) != 1 or self.mcuboot.swap_kind() is not SwapKind.NONE:
            raise ReasonError(Reason.BAD_STATE)
        self.mcuboot.erase_trailer(1)
        for page in range(self.mcuboot.layout.image_pages):
            self.mcuboot.erase_page(1, page)
        return {}

    def _upload(self, body: dict[object, object]) -> Body:
        offset, data = body.get("off"), body.get("data")
        if not isinstance(offset, int) or not isinstance(data, bytes):
            raise ReasonError(Reason.INVALID)
        if short := {place for place in self.faults.no_memory_at if place <= offset}:
            self.faults.no_memory_at -= short
            raise ReasonError(Reason.NO_MEMORY)
        if offset == 0 and not self._resumes(body):
            self._begin_upload(body, data)
        if self._length == 0:
            raise ReasonError(Reason.INVALID)
        if offset == self._offset:
            self._take(data[: self._length - self._offset])
        answer: Body = {"off": self._offset}
        if self._offset == self._length and self.tells_match and self.mode is Mode.APPLICATION:
            content = self.mcuboot.content(self._slot, self._length)
            answer["match"] = hashlib.sha256(content).digest() == self._sha
        return answer

    def _resumes(self, body: dict[object, object]) -> bool:
        """An application knows an upload by its SHA-256; the bootloader begins again."""
        return self.mode is Mode.APPLICATION and self._length > 0 and body.get("sha") == self._sha

    def _begin_upload(self, body: dict[object, object], data: bytes) -> None:
        length, sha = body.get("len"), body.get("sha", b"")
        if not isinstance(length, int) or not isinstance(sha, bytes):
            raise ReasonError(Reason.INVALID)
        if len(data) < HEADER_BYTES or data[:4] != MAGIC:
            raise ReasonError(Reason.INVALID)
        self._slot = 1
        if self.mode is Mode.RECOVERY:
            self._slot = 1 if body.get("image", 0) == SECOND_SLOT else 0
        elif self.mcuboot.swap_kind() is not SwapKind.NONE:
            raise ReasonError(Reason.NO_MEMORY)  # Zephyr's word for: no free slot
        if length > self.mcuboot.layout.capacity_bytes:
            raise ReasonError(Reason.TOO_LARGE)
        self._offset, self._length, self._sha, self._erased_pages = 0, length, sha, 0
        self.mcuboot.erase_trailer(self._slot)

    def _take(self, data: bytes) -> None:
        if self._offset + len(data) < self._length:
            data = data[: len(data) - len(data) % self.unit_bytes]
        end = self._offset + len(data)
        page_bytes = self.mcuboot.layout.page_bytes
        while not self.faults.ok_without_writing and self._erased_pages * page_bytes < end:
            self.mcuboot.erase_page(self._slot, self._erased_pages)
            self._erased_pages += 1
        if not self.faults.ok_without_writing and data:
            self.mcuboot.program(self._slot, self._offset, data)
        self._offset = end
