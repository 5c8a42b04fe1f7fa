"""U-Boot with a redundant environment and a boot counter, played from its sources.

`bootcount` is stored while the trial variable is 1, to the copy that does not count, sorted by name
and never flushed. Above `bootlimit` the script's `altbootcmd` goes to the other slot. Without a valid
environment the built-in one starts slot a when it starts at all, else b.
Source: U-Boot `env/common.c`, `lib/hashtable.c`, `drivers/bootcount/bootcount_env.c`, `common/autoboot.c`.
"""

import binascii
from dataclasses import dataclass
from typing import Final

from agent.board import SlotName, UbootSettings
from agent.errors import InstallError
from agent.interfaces import Storage
from simulator.firmware import BootChoice, Startable

HEADER: Final = 5
RESETS_MAX: Final = 32
"""More resets in a row than any boot limit; then the board counts as dark."""


@dataclass(slots=True)
class _Loaded:
    place: int
    serial: int
    variables: dict[str, str]


class UBootFirmware:
    """`Firmware` over two copies of the environment."""

    def __init__(self, settings: UbootSettings, storage: Storage, startable: Startable) -> None:
        self._settings = settings
        self._storage = storage
        self._startable = startable

    def reset(self, argument: str) -> None:
        """U-Boot takes no argument."""

    def boot(self) -> BootChoice:
        """The slot that starts; a trial slot that does not start resets and is counted again."""
        for _ in range(RESETS_MAX):
            loaded = self._load()
            slot = None if loaded is None else self._count(loaded)
            if slot is None:
                return self._built_in()
            if self._startable(slot):
                return self._start(slot)
        return BootChoice(slot=None)

    def _count(self, loaded: _Loaded) -> SlotName | None:
        """The slot that this environment starts, after the counter has had its say."""
        names, variables = self._settings, loaded.variables
        if _number(variables, names.trial):
            count = _number(variables, names.boot_count) + 1
            variables[names.boot_count] = str(count)
            self._save(loaded)
            limit = _number(variables, names.boot_limit)
            if limit and count > limit:  # altbootcmd
                variables[names.slot] = "a" if variables.get(names.slot) == "b" else "b"
                variables[names.trial] = "0"
                variables[names.boot_count] = "0"
                self._save(loaded)
        match variables.get(names.slot):
            case "a":
                return "a"
            case "b":
                return "b"
            case _:
                return None

    def _built_in(self) -> BootChoice:
        if self._startable("a"):
            return self._start("a")
        return self._start("b") if self._startable("b") else BootChoice(slot=None)

    def _start(self, slot: SlotName) -> BootChoice:
        return BootChoice(slot=slot, command_line=("quiet", self._settings.slot_argument + slot))

    def _load(self) -> _Loaded | None:
        first, second = self._copy(0), self._copy(1)
        if first is None or second is None:
            return first or second
        newer = second.serial > first.serial
        if {first.serial, second.serial} == {0, 255}:
            newer = second.serial == 0
        return second if newer else first

    def _copy(self, place: int) -> _Loaded | None:
        where = self._settings.copies[place]
        try:
            content = self._storage.device(where.device).read(
                where.offset, self._settings.size_bytes
            )
        except InstallError:
            return None
        body = content[HEADER:]
        if int.from_bytes(content[:4], "little") != binascii.crc32(body):
            return None
        variables = {}
        for entry in body.split(b"\0\0")[0].split(b"\0"):
            name, _, value = entry.decode("latin-1").partition("=")
            if name and value:
                variables[name] = value
        return _Loaded(place, content[4], variables)

    def _save(self, loaded: _Loaded) -> None:
        """Write the other copy; without a flush it may be lost, alone or with earlier ones."""
        text = "".join(f"{name}={value}\0" for name, value in sorted(loaded.variables.items()))
        body = text.encode("latin-1").ljust(self._settings.size_bytes - HEADER, b"\0")
        loaded.place = 1 - loaded.place
        loaded.serial = (loaded.serial + 1) & 0xFF
        content = binascii.crc32(body).to_bytes(4, "little") + bytes([loaded.serial]) + body
        where = self._settings.copies[loaded.place]
        try:
            self._storage.device(where.device).write(where.offset, content)
        except InstallError:
            return  # U-Boot prints the error and goes on


def _number(variables: dict[str, str], name: str) -> int:
    text = variables.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else 0
