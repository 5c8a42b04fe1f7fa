"""Deltas between small images, made by the operator's own encoder; encoded once per process."""

import tempfile
from functools import cache
from pathlib import Path

from agent.release import FULL, Image, Payload
from simulator.scratch import MEMORY


@cache
def make_delta(
    base: Image, base_blob: bytes, image: Image, blob: bytes
) -> tuple[Payload, bytes] | None:
    """The delta payload of an image and its bytes, out of the full payloads; None when it saves little."""
    from fleet.delta.encode import encode_delta  # noqa: PLC0415  # brings numpy
    from fleet.delta.pair import FullImage, Pair  # noqa: PLC0415  # goes with it

    def full(image: Image, folder: str, blob: bytes) -> FullImage:
        payload = next(one for one in image.payloads if one.kind == FULL)
        path = Path(folder, payload.blob)
        path.write_bytes(blob)
        return FullImage(image, payload, path)

    parent = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lockgate-sim-", dir=parent) as folder:
        pair = Pair(full(base, folder, base_blob), full(image, folder, blob))
        payload = encode_delta(pair, Path(folder), 1, lambda _done, _total: None)
        return None if payload is None else (payload, Path(folder, payload.blob).read_bytes())
