"""The pair of images with all payloads encrypted to one device, and what a device does with them."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.install import Job, Meter, install
from agent.interfaces import Repository
from agent.linux.block_device import LinuxBlockDevice
from agent.release import Image
from fleet.encrypted_release import seal_images
from fleet.encryption import Recipients
from tests.payload.bench import installation
from tests.payload.pair import Made


def pem(key: X25519PrivateKey) -> bytes:
    """As a device keeps it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, slots=True)
class Sealed:
    """An image whose payloads only one key opens."""

    image: Image
    blobs: Path
    key_pem: bytes


def sealed(pair: Made, folder: Path) -> Sealed:
    """The newer image of the pair, its full payload and its delta."""
    key = X25519PrivateKey.generate()
    recipients = Recipients((key.public_key().public_bytes_raw(),))
    (image,) = seal_images((pair.image.image,), pair.blobs, folder, recipients)
    return Sealed(image, folder, pem(key))


@dataclass(frozen=True, slots=True)
class Slots:
    """The standby and the active slot of a device."""

    standby: LinuxBlockDevice
    active: LinuxBlockDevice | None = None

    def take(self, image: Image, mirror: Repository, key_pem: bytes) -> Meter:
        """Install and say what it cost."""
        meter = Meter()
        job = Job(installation(image), self.standby, self.active, key_pem)
        install((job,), mirror, meter, lambda: None)
        return meter
