"""Installing processes that are killed or lose their power: little is fetched again, nothing is wrong.

`make bench-interrupted` does the same with a large image and many more interruptions.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from agent.install import FLUSH_WRITTEN_BYTES
from agent.release import DELTA, FULL
from benchmarks import device as devices
from benchmarks.bench_interrupted import AGAIN_BYTES_MAX, interruptions, only_full, reinstall
from benchmarks.interrupted_images import Made, make_images
from benchmarks.interruption import WINDOW_BYTES, Subject
from benchmarks.web import HOST
from benchmarks.wire import Relay
from fleet.server import HttpsServer

IMAGE_BYTES = 6 * 1024 * 1024
CUTS = 1
SMALL_FILES_BYTES = 256 * 1024


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_images(tmp_path_factory.mktemp("images"), IMAGE_BYTES)


@contextmanager
def served(folder: Path, made: Made, payload: str) -> Iterator[Subject]:
    """A device that has the base, and a server with the image."""
    oldest, base, newest = made.files
    workspace = devices.make_fleet(folder / "fleet")
    image = made.image if payload == DELTA else only_full(made.image)
    devices.publish(workspace, image, made.blobs)
    (workspace.public / "blobs").unlink()
    shutil.copytree(made.blobs, workspace.public / "blobs")
    slots = folder / "running", folder / "standby"
    shutil.copyfile(base, slots[0])
    shutil.copyfile(oldest, slots[1])
    with HttpsServer(workspace, port=0) as server, Relay(server.port) as relay:
        url = f"https://{HOST}:{relay.port}"
        device = devices.make(workspace, url, slots, folder / "device")
        yield Subject(device, relay, oldest, newest)


@pytest.mark.parametrize("payload", [FULL, DELTA])
@pytest.mark.parametrize("lossy", ["", "7"], ids=["kill", "power"])
def test_an_interruption_costs_less_than_a_mebibyte(
    images: Made, tmp_path: Path, payload: str, lossy: str
) -> None:
    with served(tmp_path, images, payload) as plain:
        subject = Subject(plain.device, plain.relay, plain.before, plain.image, lossy)
        subject.forget()
        undisturbed = subject.run()
        assert subject.holds_image()
        rows = list(interruptions(subject, undisturbed, CUTS, Random(f"{payload} {lossy}")))
        changed_bytes = subject.changed_bytes()
    allowed = changed_bytes + FLUSH_WRITTEN_BYTES + 2 * WINDOW_BYTES + SMALL_FILES_BYTES
    assert len(rows) == CUTS
    for row in rows:
        assert row.right
        assert row.again_bytes <= AGAIN_BYTES_MAX
        assert row.written * changed_bytes <= allowed


def test_an_image_that_is_there_costs_no_record_and_no_write(images: Made, tmp_path: Path) -> None:
    with served(tmp_path, images, FULL) as subject:
        subject.run()
        assert reinstall(subject, only_full(images.image))
