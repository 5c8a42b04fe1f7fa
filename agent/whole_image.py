"""Fetches an image whole into memory, for a component that takes it in one piece.

Payloads are made of whole sectors, and such an image is as long as it is: its payload is that of the image
with zeros behind it, which are cut off here again.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace

from agent.errors import PayloadError
from agent.interfaces import Repository
from agent.payload import padded_bytes
from agent.records import Meter
from agent.supply import Supply, Surroundings
from agent.update import Installation


def fetch_whole(
    repository: Repository,
    installation: Installation,
    meter: Meter,
    breathe: Callable[[], None],
    secret: bytes = b"",
) -> bytes:
    """The image, every window and all of it checked. Raises `FetchError`, `PayloadError`.

    `secret` is the device's private key (PEM), for what is encrypted. The caller has seen to it that there
    is room in memory.
    """
    content = bytearray()
    around = Surroundings(
        base=None,
        image=lambda offset, length_bytes: bytes(content[offset : offset + length_bytes]),
        spend=lambda _: breathe(),
        secret=secret,
    )
    padded = replace(installation, length_bytes=padded_bytes(installation.length_bytes))
    supply = Supply(repository, padded, meter, around)
    try:
        for number in range(len(supply.entries())):
            if supply.travels(number):
                content += supply.window(number)
                continue
            for place, window in enumerate(supply.at_hand(number)):
                content += window.content or supply.replaced(supply.replacement(number, place))
    finally:
        supply.close()
    image = bytes(content[: installation.length_bytes])
    if hashlib.sha256(image).hexdigest() != installation.sha256:
        raise PayloadError(
            f"image {installation.part}: the SHA-256 {installation.sha256[:16]} was expected, its payload "
            "makes another; publish it anew"
        )
    return image
