"""`Storage` on Linux: block devices by the paths that the board profile gives them."""

from agent.linux.block_device import LinuxBlockDevice


class LinuxStorage:
    """Opens devices by their path, each once."""

    def __init__(self) -> None:
        self._devices: dict[str, LinuxBlockDevice] = {}

    def device(self, path: str) -> LinuxBlockDevice:
        """The device at this path; whether it is there shows at its first use."""
        return self._devices.setdefault(path, LinuxBlockDevice(path))
