"""`Rest` with a courier: it starts the agent again; what is remembered is a file in memory."""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from agent.errors import BrokerError
from agent.linux.courier.broker import CourierBroker

if TYPE_CHECKING:  # loading all of the seams takes as long as a glance
    from agent.interfaces import Files

FILE: Final = "rest.json"


class CourierRest:
    """Raises `BrokerError` and `StateError`. What other settings left is not remembered."""

    def __init__(self, broker: CourierBroker, files: "Files", settings: bytes) -> None:
        self._broker = broker
        self._files = files
        self._settings = settings

    def attach(self) -> None:
        """Call the courier, which may have a session already; without one the agent tries again later."""
        with suppress(BrokerError):
            self._broker.attach()

    def remembered(self) -> bytes | None:
        """What was left at the last rest, if anything."""
        settings, _, memory = (self._files.read(FILE) or b"").partition(b"\n")
        return memory if settings == self._settings else None

    def rest(self, wake_after_s: float, *, on_session: bool, memory: bytes) -> bool:
        """Write it down, then ask the courier."""
        self._files.replace(FILE, self._settings + b"\n" + memory)
        return self._broker.rest(wake_after_s, on_session=on_session)
