"""What is asked for is what is needed: a server sends ahead all that was asked for, and the device pays."""

from pathlib import Path

import pytest

from agent.payload import WINDOW_BYTES
from benchmarks.mirror import Mirror
from tests.payload.bench import make_slot, run
from tests.payload.pair import Made


@pytest.mark.parametrize("every", [2, 5, 17])
def test_nothing_is_asked_for_that_the_slot_holds(pair: Made, tmp_path: Path, every: int) -> None:
    held = bytearray(b"\xa5" * len(pair.old))
    for start in range(0, len(held), every * WINDOW_BYTES):
        held[start : start + WINDOW_BYTES] = pair.old[start : start + WINDOW_BYTES]
    standby = make_slot(tmp_path / "standby", bytes(held), len(held))
    other = make_slot(tmp_path / "active", b"\x5a" * len(pair.old), len(pair.old))
    mirror = Mirror(pair.blobs)

    meter = run(pair.base.image, standby, other, mirror)

    assert (tmp_path / "standby").read_bytes() == pair.old
    assert mirror.asked_bytes == meter.fetched_bytes
