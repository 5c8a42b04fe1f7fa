"""Devices that believe or forget what they must not."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256

from agent import journal as journals
from agent.device import Device
from agent.errors import BootControlError, StateError
from agent.interfaces import Files
from agent.metadata import MetadataSession
from agent.rollout import Halts
from agent.runner import REBOOTS_MAX, Move, Reboot, Runner
from agent.strict import encode_json
from agent.update import Event, Update


@dataclass(frozen=True)
class Believed:
    """Small files whose journal always fits its sum."""

    files: Files

    def read(self, name: str) -> bytes | None:
        content = self.files.read(name)
        if name != journals.FILE or content is None:
            return content
        try:
            document = json.loads(content)
        except ValueError as error:
            raise StateError(f"{name}: JSON was expected, it is torn") from error
        document["sha256"] = sha256(encode_json(document["body"])).hexdigest()
        return encode_json(document)

    def replace(self, name: str, content: bytes) -> None:
        self.files.replace(name, content)

    def remove(self, name: str) -> None:
        self.files.remove(name)

    def names(self, folder: str) -> tuple[str, ...]:
        return self.files.names(folder)


@dataclass(frozen=True, slots=True)
class BelievesItsJournal(Device):
    """Does not compare the journal with its sum."""

    def __post_init__(self) -> None:
        believed = replace(self.world, files=Believed(self.world.files))
        object.__setattr__(self, "world", believed)


class _NoHalts(MetadataSession):
    """A session that knows of no halts."""

    def halts(self) -> Halts:
        return Halts(super().halts().fleet, ())


@dataclass(frozen=True, slots=True)
class IgnoresHalts(Device):
    """Looks at what was started, and not at what was stopped."""

    @contextmanager
    def session(self) -> Iterator[MetadataSession]:
        with super(IgnoresHalts, self).session() as verified:
            updater, repository = verified._updater, verified._repository  # noqa: SLF001  # the same one
            yield _NoHalts(updater, repository, self.config.device.fleet)


class CountsBeforeItWithdraws(Runner):
    """Counts the boot into an unhealthy trial before it withdraws the trial."""

    def _leave_trial(self, update: Update) -> Move | Reboot:
        if self._device.boot.booted() != update.target:
            return Move(update, Event.BOOTED_PREVIOUS)
        if update.failures >= REBOOTS_MAX:
            raise BootControlError("a reboot that leads out of the trial was expected")
        counted = replace(update, failures=update.failures + 1)
        self.record(replace(self.journal, update=counted))
        self._device.boot.disarm()
        return Reboot("")
