"""Encrypted releases as the operator makes them: only recipients read them, and deltas go on."""

import argparse
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.commands import identity
from agent.config import parse_config
from agent.encryption import SCHEME, recipient_id
from agent.errors import ConfigError, RecipientError
from agent.plan import full_payload
from agent.release import (
    DELTA,
    FULL,
    Encryption,
    Image,
    Payload,
    Release,
    encode_release,
    parse_release,
)
from benchmarks.mirror import Mirror
from fleet import authority
from fleet.commands import enrol
from fleet.encryption import archive_key, device_keys, find_recipients, read_public
from fleet.initialise import initialise
from fleet.keys import KeyFolders
from fleet.release import ImageInput, MadeRelease, ReleaseRequest, add_release
from fleet.workspace import FleetSettings, Workspace
from tests.payload.bench import make_slot
from tests.payload.sealed import Slots

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "fleet")
    settings = FleetSettings("harbour", "localhost", 8883, "https://localhost:8443")
    initialise(made, settings, NOW)
    authority.create(made, settings, NOW)
    return made


@pytest.fixture
def device(workspace: Workspace, tmp_path: Path) -> Path:
    """An enrolled device's folder, with its keys."""
    folder = tmp_path / "device"
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--config", default="")
    commands = parser.add_subparsers()
    identity.add(commands)
    enrol.add(commands)
    request, keys = folder / "request", (folder / "device.key", folder / "encryption.key")
    words = ["--device", "pump-1", "--key", str(keys[0]), "--encryption-key", str(keys[1])]
    made = parser.parse_args(["identity", "--new", *words, "--out", str(request)])
    folder.mkdir()
    assert made.run(made) == 0
    given = ["--csr", str(request), "--out", str(folder), "--encryption-key", str(keys[1])]
    taken = parser.parse_args(["enrol", "pump-1", *given])
    assert taken.run(taken, workspace) == 0
    return folder


def add(
    workspace: Workspace,
    counter: int,
    content: bytes,
    *bases: str,
    to: tuple[str, ...] = ("enrolled",),
    dry_run: bool = False,
) -> MadeRelease:
    path = workspace.root / f"{counter}.img"
    path.write_bytes(content)
    images = (ImageInput("board", "root", path),)
    request = ReleaseRequest(f"r{counter}", counter, "feature", images, bases=bases, encrypt_to=to)
    return add_release(workspace, KeyFolders((workspace.keys,)), request, NOW, dry_run=dry_run)


def noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(512 * 1024)


def blobs(workspace: Workspace) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (workspace.stage / "blobs").iterdir()}


def test_an_enrolled_device_installs_deltas_between_encrypted_releases(
    workspace: Workspace, device: Path, tmp_path: Path
) -> None:
    old, new = noise(1), noise(1)[: 256 * 1024] + noise(2)[256 * 1024 :]
    add(workspace, 1, old)
    image = add(workspace, 2, new, "r1").release.images[0]
    config = parse_config((device / "agent.toml").read_bytes(), "agent.toml")
    key = Path(config.encryption.key).read_bytes()

    standby = make_slot(tmp_path / "standby", b"", len(new))
    active = make_slot(tmp_path / "active", old, len(old))
    Slots(standby, active).take(image, Mirror(workspace.stage / "blobs"), key)

    assert (tmp_path / "standby").read_bytes() == new
    assert [one.kind for one in image.payloads] == [FULL, DELTA]
    assert all(one.encryption is not None for one in image.payloads)
    assert image.payloads[1].length_bytes < 0.6 * image.payloads[0].length_bytes
    for content in blobs(workspace).values():
        assert old[5000:5032] not in content
        assert new[300_000:300_032] not in content
    assert sorted(path.name for path in workspace.stage.iterdir() if path.name[0] == ".") == []


def test_a_plain_release_after_an_encrypted_one_leaves_nothing_plain_of_that(
    workspace: Workspace, device: Path
) -> None:
    assert device.is_dir()
    old, new = noise(1), noise(2)[: 256 * 1024] + noise(1)[256 * 1024 :]
    add(workspace, 1, old)
    made = add(workspace, 2, new, "r1", to=())
    assert [one.encryption for one in made.release.images[0].payloads] == [None, None]
    assert not any(old[:32] in content for content in blobs(workspace).values())


def test_a_dry_run_leaves_nothing(workspace: Workspace, device: Path) -> None:
    assert device.is_dir()
    assert add(workspace, 1, noise(1), dry_run=True).release.images[0].payloads[0].encryption
    assert list((workspace.stage / "blobs").glob("*")) == []


def test_without_the_operators_own_key_a_delta_is_refused_by_name(
    workspace: Workspace, device: Path
) -> None:
    assert device.is_dir()
    add(workspace, 1, noise(1))
    (workspace.keys / "encryption" / "archive.pem").unlink()
    with pytest.raises(ConfigError, match=r"archive\.pem was expected to open it"):
        add(workspace, 2, noise(1), "r1")


def test_recipients_are_files_devices_or_all(workspace: Workspace, device: Path) -> None:
    known = device_keys(workspace) / "pump-1.pem"
    mine = archive_key(workspace).public_key().public_bytes_raw()
    assert (workspace.keys / "encryption" / "archive.pem").stat().st_mode & 0o777 == 0o600
    for words in (["enrolled"], ["pump-1"], [str(known)], ["pump-1", "enrolled"]):
        found = find_recipients(workspace, words).keys
        assert set(found) == {mine, read_public(known)}
    for word in ("pump-2", str(device / "device.key"), str(device / "nothing")):
        with pytest.raises(ConfigError):
            find_recipients(workspace, [word])


def test_a_fleet_without_encryption_keys_says_so(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="no device was enrolled with an encryption key"):
        find_recipients(workspace, ["enrolled"])


PLAIN = Payload(FULL, "cd" * 32, 1000, 200, "ef" * 32)
SEALED = replace(PLAIN, encryption=Encryption(SCHEME, 108, "ab" * 32))
LATER = replace(PLAIN, encryption=Encryption("mlkem-2030"))


def read(*payloads: Payload) -> tuple[Release, Image]:
    image = Image("board", "slots", "root", 8192, "12" * 32, payloads)
    release = parse_release(encode_release(Release("r", 1, "feature", NOW, "", (image,))))
    return release, release.images[0]


def test_an_unknown_scheme_is_passed_over_when_there_is_another_payload() -> None:
    release, image = read(LATER, SEALED, PLAIN)
    assert image.payloads[0].encryption == Encryption("mlkem-2030")
    assert full_payload(release, image, has_key=True) == SEALED
    assert full_payload(release, image, has_key=False) == PLAIN


def test_an_unknown_scheme_alone_is_refused_by_its_name() -> None:
    release, image = read(LATER)
    with pytest.raises(RecipientError, match=r"mlkem-2030 in every payload.*knows hpke") as told:
        full_payload(release, image, has_key=True)
    assert told.value.code == "payload-key"


def test_a_device_without_a_key_is_told_so() -> None:
    release, image = read(SEALED)
    with pytest.raises(RecipientError, match="has no key of its own"):
        full_payload(release, image)


def test_a_scheme_of_tomorrow_may_say_more_in_its_table() -> None:
    text = encode_release(read(SEALED)[0]).decode()
    assert '"kind":"encrypted-full"' in text.replace(" ", "")
    later = text.replace(SCHEME, "mlkem-2030").replace("envelope_bytes", "other")
    image = parse_release(later.encode()).images[0]
    assert image.payloads[0].encryption == Encryption("mlkem-2030")


def test_a_key_is_named_by_its_hash() -> None:
    assert recipient_id(bytes(32)).hex() == "66687aadf862bd776c8fc18b8e9f8e20"
