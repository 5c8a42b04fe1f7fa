"""A standby and an active slot in files, and installing from a mirror in a folder."""

from pathlib import Path

from agent.install import Job, Meter, install
from agent.linux.block_device import LinuxBlockDevice
from agent.release import DELTA, Image
from agent.update import Installation
from benchmarks.mirror import Mirror


def installation(image: Image) -> Installation:
    """With the delta of the image, if it has one."""
    delta = next((one for one in image.payloads if one.kind == DELTA), None)
    return Installation(
        image.part,
        image.length_bytes,
        image.sha256,
        image.payloads[0],
        delta,
        image.windows_sha256,
    )


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
