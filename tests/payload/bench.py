"""A standby and an active slot in files, and a mirror in a folder that counts what it serves."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from agent.install import Job, Meter, install
from agent.interfaces import ByteStream
from agent.linux.block_device import LinuxBlockDevice
from agent.release import DELTA, Image
from agent.update import Installation


@dataclass(slots=True)
class _Stream:
    file: IO[bytes]
    left: int

    def read(self, length_max: int) -> bytes:
        content = self.file.read(min(length_max, self.left))
        self.left -= len(content)
        return content

    def close(self) -> None:
        self.file.close()


@dataclass(slots=True)
class Mirror:
    """`blobs/HEX` is the file HEX of the folder."""

    blobs: Path
    opened: list[str] = field(default_factory=list)
    asked_bytes: int = 0

    def open(self, path: str, offset: int, length_max: int) -> ByteStream:
        self.opened.append(path)
        self.asked_bytes += length_max
        file = (self.blobs / Path(path).name).open("rb")
        file.seek(offset)
        return _Stream(file, length_max)


def installation(image: Image) -> Installation:
    """With the delta of the image, if it has one."""
    delta = next((one for one in image.payloads if one.kind == DELTA), None)
    return Installation(image.part, image.length_bytes, image.sha256, image.payloads[0], delta)


def make_slot(path: Path, content: bytes, length_bytes: int) -> LinuxBlockDevice:
    """A file that stands for a device, with zeros behind the content."""
    with path.open("wb") as file:
        file.write(content)
        file.truncate(length_bytes)
    return LinuxBlockDevice(str(path))


def run(image: Image, standby: LinuxBlockDevice, active: LinuxBlockDevice, mirror: Mirror) -> Meter:
    """Install and say what it cost."""
    meter = Meter()
    install((Job(installation(image), standby, active),), mirror, meter, lambda: None)
    return meter
