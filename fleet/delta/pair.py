"""What a delta is made from. Apart from the encoder, whose library takes a fifth of a second to load."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.release import Image, Payload

Progress = Callable[[int, int], None]
"""Called with the windows that were coded, and all of the image."""


@dataclass(frozen=True, slots=True)
class FullImage:
    """An image and the file with its full payload."""

    image: Image
    payload: Payload
    path: Path


@dataclass(frozen=True, slots=True)
class Pair:
    """What a delta leads from and to."""

    base: FullImage
    new: FullImage
