"""U-Boot with two copies of its environment: trial boots are counted, and it goes back by itself.

Each transition writes the copy that does not count, once and with all variables. A cut inside leaves
that copy old, new or invalid, and the other one as it was: the state before or after.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agent.board import EnvironmentCopy, SlotName, UbootSettings, other
from agent.boot.environment import check_first_sector, choose, decode, encode, flags_of
from agent.boot.medium import SECTOR_BYTES, flush_state, open_device, read_state, write_state
from agent.errors import BootControlError
from agent.interfaces import BlockDevice, Storage, SystemFacts

ATTEMPTS_MAX: Final = 8
"""U-Boot stores one more than the limit before it gives up; a second digit would move what follows
into other sectors, and a cut could then spoil both copies."""


@dataclass(frozen=True, slots=True)
class _State:
    """What the copy that counts says, and where it is."""

    active: int
    flags: int
    variables: Mapping[bytes, bytes]
    slot: SlotName
    trial: bool


class UbootControl:
    """`BootControl` for boards whose U-Boot script reads four variables."""

    def __init__(self, settings: UbootSettings, storage: Storage, facts: SystemFacts) -> None:
        self._settings = settings
        self._storage = storage
        self._facts = facts

    def booted(self) -> SlotName:
        """The slot that the boot script put on the kernel command line."""
        argument = self._settings.slot_argument
        words = [word for word in self._facts.command_line if word.startswith(argument)]
        if words == [f"{argument}a"]:
            return "a"
        if words == [f"{argument}b"]:
            return "b"
        raise BootControlError(
            f"kernel command line: one {argument}a or {argument}b was expected, "
            f"{' '.join(words)[:200] or 'none'} found; the boot script must put it there"
        )

    def default(self) -> SlotName:
        """The confirmed slot: while a trial is armed it is the one that is not tried."""
        state = self._read()
        return other(state.slot) if state.trial else state.slot

    def armed(self) -> bool:
        """Whether U-Boot counts the next boots as a trial."""
        return self._read().trial

    def try_next(self, slot: SlotName, attempts: int) -> str:
        """Arm so many boots of this slot, at most eight; U-Boot needs no reboot argument."""
        if attempts < 1:
            raise BootControlError(f"at least 1 attempt was expected, {attempts} found")
        state = self._read()
        default = other(state.slot) if state.trial else state.slot
        if slot in (self.booted(), default):
            raise BootControlError(
                f"the slot that neither runs nor starts by default was expected, {slot} found; "
                "settle the trial that runs before another one"
            )
        limit = min(attempts, ATTEMPTS_MAX)
        variables = self._changed(state, slot=slot, trial=True, limit=limit)
        names = self._settings
        changing = (names.slot, names.trial, names.boot_count, names.boot_limit)
        check_first_sector(variables, (name.encode() for name in changing))
        self._write(state, variables)
        return ""

    def confirm(self, slot: SlotName) -> None:
        """End the trial in favour of the running slot. A cut leaves it armed or confirmed."""
        if self.booted() != slot:
            raise BootControlError(
                f"slot {slot} was expected to run, {self.booted()} does; only a slot that runs "
                "can be confirmed"
            )
        state = self._read()
        if state.slot != slot:
            raise BootControlError(
                f"a trial of slot {slot} was expected in the U-Boot environment, slot "
                f"{state.slot} found; it was withdrawn or given up, so update again"
            )
        self._settle(state, slot)

    def disarm(self) -> None:
        """End the trial in favour of the default slot. A cut leaves it armed or withdrawn.

        When U-Boot has given the trial up by itself this makes that durable, which U-Boot does not.
        """
        state = self._read()
        self._settle(state, other(state.slot) if state.trial else state.slot)

    def _settle(self, state: _State, slot: SlotName) -> None:
        settled = self._changed(state, slot=slot, trial=False) if state.trial else state.variables
        self._write(state, settled)

    def _changed(
        self, state: _State, *, slot: SlotName, trial: bool, limit: int | None = None
    ) -> dict[bytes, bytes]:
        """All variables, with the boot counter back at its start."""
        names = self._settings
        variables = dict(state.variables)
        variables[names.slot.encode()] = slot.encode()
        variables[names.trial.encode()] = b"1" if trial else b"0"
        variables[names.boot_count.encode()] = b"0"
        if limit is not None:
            variables[names.boot_limit.encode()] = str(limit).encode()
        return variables

    def _read(self) -> _State:
        copies = [self._copy(place) for place in self._settings.copies]
        active = choose(copies[0], copies[1])
        if active is None:
            raise BootControlError(
                "U-Boot environment: at least one copy with a valid checksum was expected, none "
                "found; compare size_bytes and the offsets in the board profile with "
                "CONFIG_ENV_SIZE and CONFIG_ENV_OFFSET of this U-Boot, then run saveenv there"
            )
        variables = decode(copies[active])
        names = self._settings
        return _State(
            active=active,
            flags=flags_of(copies[active]),
            variables=variables,
            slot="a" if _one_of(variables, names.slot, b"a", b"b") == b"a" else "b",
            trial=_one_of({names.trial.encode(): b"0"} | variables, names.trial, b"0", b"1")
            == b"1",
        )

    def _write(self, state: _State, variables: Mapping[bytes, bytes]) -> None:
        if variables == state.variables:
            for copy in self._settings.copies:  # what was read may be in the drive's memory only
                flush_state(self._device(copy), "U-Boot environment")
            return
        content = encode(
            variables, flags=(state.flags + 1) % 256, size_bytes=self._settings.size_bytes
        )
        place = self._settings.copies[1 - state.active]
        write_state(self._device(place), place.offset, content, f"U-Boot environment {place}")

    def _copy(self, place: EnvironmentCopy) -> bytes:
        """One copy. One that cannot be read is no invalid copy: it may be the one that counts."""
        size_bytes = self._settings.size_bytes
        if place.offset % SECTOR_BYTES or size_bytes % SECTOR_BYTES:
            raise BootControlError(
                f"U-Boot environment: an offset and a size in whole sectors of {SECTOR_BYTES} "
                f"bytes were expected, {place.offset} and {size_bytes} found; a cut could tear it"
            )
        return read_state(self._device(place), place.offset, size_bytes, "U-Boot environment")

    def _device(self, place: EnvironmentCopy) -> BlockDevice:
        return open_device(self._storage, place.device)


def _one_of(variables: Mapping[bytes, bytes], name: str, *values: bytes) -> bytes:
    found = variables.get(name.encode(), b"")
    if found not in values:
        expected = " or ".join(value.decode() for value in values)
        raise BootControlError(
            f"U-Boot environment: {name} of {expected} was expected, {found[:80]!r} found; "
            f"set it with fw_setenv {name} {expected.split()[0]}"
        )
    return found
