"""A pair of images, and a folder for all that is made of it; what is there is not made again."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.release import Image, Payload
from agent.update import Installation

DEVICE_HARDWARE: Final = "lockgate,files"


@dataclass(frozen=True, slots=True)
class Pair:
    """An old image, a new one, and where their payloads, notes and peers' files lie."""

    old: Path
    new: Path
    work: Path

    @property
    def name(self) -> str:
        """As in the results: `release.ext4`."""
        return self.new.name

    @property
    def blobs(self) -> Path:
        """Payloads by their SHA-256, and notes on them."""
        return self.work / f"blobs{self.new.suffix}"

    @property
    def served(self) -> Path:
        """What the web server serves for peers."""
        return self.work / "served"

    def made(self, name: str) -> Path:
        """A file of a peer that is not served."""
        folder = self.work / "made"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def image(self, path: Path) -> Image | None:
        """What an encoder noted of an image; None when it was not encoded yet."""
        note = self.blobs / f"{path.stem}.json"
        if not note.exists():
            return None
        document = json.loads(note.read_text())
        document["payloads"] = tuple(Payload(**one) for one in document["payloads"])
        return replace(Image(**document), hardware_id=DEVICE_HARDWARE)


def installation_of(image: Image) -> Installation:
    """With the full payload of the image, and the delta that follows it if there is one."""
    full, delta = (*image.payloads, None)[:2]
    assert full is not None, "every image has a full payload"
    return Installation(
        image.part, image.length_bytes, image.sha256, full, delta, image.windows_sha256
    )
