"""`release add --from`: a delta for each image of the earlier release, and never in place of the full one."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.errors import ConfigError, StateError
from agent.release import DELTA, FULL, Image, Payload, Release, encode_release, parse_release
from fleet.initialise import initialise
from fleet.keys import KeyFolders
from fleet.payload import Encoding
from fleet.release import ImageInput, MadeRelease, ReleaseRequest, add_release
from fleet.workspace import FleetSettings, Workspace

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "fleet")
    settings = FleetSettings("harbour", "localhost", 8883, "https://localhost:8443")
    initialise(made, settings, NOW)
    return made


def add(
    workspace: Workspace, counter: int, content: bytes, *bases: str, processes: int = 1
) -> MadeRelease:
    path = workspace.root / f"{counter}.img"
    path.write_bytes(content)
    images = (ImageInput("board", "root", path),)
    request = ReleaseRequest(f"r{counter}", counter, "feature", images, bases=bases)
    request = replace(request, encoding=Encoding(threads=processes))
    return add_release(workspace, KeyFolders((workspace.keys,)), request, NOW)


def noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(512 * 1024)


def test_each_named_release_gets_a_delta_beside_the_full_payload(workspace: Workspace) -> None:
    for number in (1, 2):
        add(workspace, number, noise(number))
    new = noise(1)[: 256 * 1024] + noise(2)[256 * 1024 :]

    image = add(workspace, 3, new, "r1", "r2").release.images[0]

    assert [payload.kind for payload in image.payloads] == [FULL, DELTA, DELTA]
    for payload in image.payloads:
        assert (workspace.stage / payload.path).stat().st_size == payload.length_bytes
    assert image.payloads[1].base_sha256 != image.payloads[2].base_sha256
    assert image.payloads[1].length_bytes < 0.6 * image.payloads[0].length_bytes


def test_a_delta_that_saves_nothing_is_not_made(workspace: Workspace) -> None:
    add(workspace, 1, noise(1))
    image = add(workspace, 2, noise(2), "r1").release.images[0]
    assert [payload.kind for payload in image.payloads] == [FULL]


def test_the_same_images_make_the_same_delta_whatever_the_number_of_processes(
    workspace: Workspace, tmp_path: Path
) -> None:
    other = Workspace(tmp_path / "other")
    initialise(other, FleetSettings("x", "localhost", 8883, "https://localhost:8443"), NOW)
    old = b"".join(noise(seed) for seed in range(6))
    new = old[5000:] + noise(7)[:5000]
    payloads = []
    for processes, one in enumerate((workspace, other), start=1):
        add(one, 1, old)
        made = add(one, 2, new, "r1", processes=processes)
        payloads.append(made.release.images[0].payloads)
    assert payloads[0] == payloads[1]


def test_a_base_that_is_not_there_is_named(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="r1"):
        add(workspace, 2, noise(2), "r1")


def test_a_base_whose_payload_was_taken_away_is_named(workspace: Workspace) -> None:
    old = add(workspace, 1, noise(1)).release.images[0].payloads[0]
    (workspace.stage / old.path).unlink()
    with pytest.raises(StateError, match="--from"):
        add(workspace, 2, noise(1)[512:] + bytes(512), "r1")


def payload(kind: str) -> Payload:
    base = ("ab" * 32, 4096) if kind == DELTA else ("", 0)
    return Payload(kind, "cd" * 32, 1000, 200, "ef" * 32, *base)


def test_a_manifest_keeps_deltas_and_drops_what_only_newer_agents_know() -> None:
    payloads = (payload(FULL), payload(DELTA), payload("holographic"))
    image = Image("board", "slots", "root", 8192, "12" * 32, payloads)
    release = Release("r", 1, "feature", NOW, "", (image,))
    assert parse_release(encode_release(release)).images[0].payloads == payloads[:2]
