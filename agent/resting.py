"""How a whole agent that has nothing to do ends: with the memory of what it saw. Pure."""

from dataclasses import dataclass

from agent.agenda import Agenda
from agent.device import Device
from agent.outlook import JOURNAL, TIMESTAMP, Looked, Outlook, digest
from agent.report import clean
from agent.rest import SHORTEST_S, Memory, Rest, encode_memory, parse_memory


@dataclass(frozen=True, slots=True)
class Unsaid:
    """Whether reports wait for their receipts, and whether a new session would hear anything at all."""

    reports: bool
    anything: bool


class Resting:
    """One device's way to rest."""

    def __init__(self, rest: Rest, device: Device) -> None:
        self.looked: Looked | None = None
        self._rest = rest
        self._device = device

    def recalled(self) -> Memory | None:
        """What an earlier run of this boot left."""
        return parse_memory(self._rest.remembered(), self._device.facts.boot_id)

    def may_end(self, agenda: Agenda, detail: str, unsaid: Unsaid) -> bool:
        """Whether this process may end now. Raises `BrokerError`, `StateError`."""
        wake_after_s = agenda.wait_s(updating=False)
        if wake_after_s < SHORTEST_S:
            return False
        if unsaid.reports:
            wake_after_s = min(wake_after_s, self._device.config.timing.retry_max_s)
        memory = agenda.memory(self._device.facts.boot_id, clean(detail))
        if not unsaid.anything:
            memory = memory._replace(outlook=self._outlook())
        return self._rest.rest(
            wake_after_s, on_session=unsaid.anything, memory=encode_memory(memory)
        )

    def _outlook(self) -> Outlook | None:
        """With what is durable now: whatever of it changes later calls for a whole check."""
        if self.looked is None:
            return None
        files = self._device.world.files
        return Outlook(digest(files.read(TIMESTAMP)), digest(files.read(JOURNAL)), self.looked)
