"""The MQTT topics, and the names that may stand in them. Pure; `docs/mqtt.md`."""

from typing import NamedTuple


class Topics(NamedTuple):
    """The topics of one device of one fleet. Devices subscribe to exact topics only."""

    fleet: str
    device: str

    @property
    def fleet_notice(self) -> str:
        """Retained, from the fleet to everyone: look again."""
        return f"lockgate/{self.fleet}/notice"

    @property
    def notice(self) -> str:
        """Retained, from the fleet to this device: look again."""
        return self._own("notice")

    @property
    def receipt(self) -> str:
        """Not retained, from the fleet: these reports are stored."""
        return self._own("receipt")

    @property
    def state(self) -> str:
        """Retained, from the device: what runs and what is under way."""
        return self._own("state")

    @property
    def presence(self) -> str:
        """Retained, from the device or its last will: online or not."""
        return self._own("presence")

    @property
    def report(self) -> str:
        """Not retained, from the device: one event, again and again until its receipt."""
        return self._own("report")

    def _own(self, leaf: str) -> str:
        return f"lockgate/{self.fleet}/{self.device}/{leaf}"
