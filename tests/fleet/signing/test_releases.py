"""Releases: what goes in comes out, and wrong input is named before anything is staged."""

import hashlib
from pathlib import Path

import pytest

from agent.errors import ConfigError, UpdateError
from fleet.initialise import Trust, initialise
from fleet.payload import Encoding
from fleet.release import (
    ImageInput,
    ReleaseRequest,
    add_release,
    find_release,
    parse_image_input,
    releases,
)
from fleet.workspace import FleetSettings, Workspace
from tests.fleet.signing.support import HARDWARE, NOW, SETTINGS, Fleet, noise


def request(path: Path, **changes: object) -> ReleaseRequest:
    values: dict[str, object] = {
        "name": "2026.2",
        "counter": 2,
        "kind": "feature",
        "images": (ImageInput(HARDWARE, "root", path),),
        **changes,
    }
    return ReleaseRequest(**values)  # type: ignore[arg-type]  # the values vary by test


def test_a_release_of_two_parts_is_staged_and_read_back(fleet: Fleet, tmp_path: Path) -> None:
    root, boot = tmp_path / "root.img", tmp_path / "boot.img"
    root.write_bytes(noise(4096))
    boot.write_bytes(bytes(8192))
    images = (ImageInput(HARDWARE, "root", root), ImageInput(HARDWARE, "boot", boot))

    made = add_release(fleet.workspace, fleet.keys, request(root, images=images), NOW)

    assert made.status is not None
    assert made.status.complete
    assert find_release(fleet.workspace, "2026.2") == made.release
    assert [image.part for image in made.release.images] == ["root", "boot"]
    windows = [hashlib.sha256(file.read_bytes()).digest() for file in (root, boot)]  # one each
    named = [image.windows_sha256 for image in made.release.images]
    assert named == [hashlib.sha256(window).hexdigest() for window in windows]
    for image in made.release.images:
        assert (fleet.workspace.stage / image.payloads[0].path).is_file()


def test_a_dry_run_stages_nothing(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "root.img"
    path.write_bytes(noise(4096))
    before = sorted(fleet.workspace.stage.rglob("*"))

    made = add_release(fleet.workspace, fleet.keys, request(path), NOW, dry_run=True)

    assert made.status is None
    assert made.release.images[0].length_bytes == 4096
    assert sorted(fleet.workspace.stage.rglob("*")) == before


WRONG: list[tuple[dict[str, object], str]] = [
    ({"name": "../2"}, "a name of letters"),
    ({"name": "2026.1"}, "exists already"),
    ({"counter": 1}, "more than 1"),
    ({"counter": 0}, "more than 1"),
    ({"counter": 2**53}, "more than 1"),
    ({"kind": "hotfix"}, "one of feature, security"),
    ({"notes": "two\nlines"}, "one line"),
    ({"images": ()}, "at least one"),
    ({"images": (ImageInput(HARDWARE, "ro ot", Path()),)}, "name of a part"),
    ({"images": (ImageInput("x" * 129, "root", Path()),)}, "hardware id"),
    ({"images": (ImageInput(HARDWARE, "root", Path()),) * 2}, "stands twice"),
    ({"images": (ImageInput(HARDWARE, "root", Path("/nowhere/image")),)}, "cannot be read"),
    ({"encoding": Encoding(level=99)}, "--level"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_input_is_refused_and_nothing_is_staged(
    fleet: Fleet, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    fleet.add("2026.1", 1)
    path = tmp_path / "root.img"
    path.write_bytes(noise(1024))

    with pytest.raises(ConfigError, match=words):
        add_release(fleet.workspace, fleet.keys, request(path, **changes), NOW)

    assert [release.name for release in releases(fleet.workspace)] == ["2026.1"]


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "empty"), (noise(700), "truncate --size=%512")]
)
def test_an_image_that_no_slot_can_hold_is_refused_by_name(
    fleet: Fleet, tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "odd.img"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=words) as refused:
        add_release(fleet.workspace, fleet.keys, request(path), NOW)

    assert str(refused.value).startswith(str(path))


def test_an_image_argument_may_hold_colons_and_commas() -> None:
    image = parse_image_input("vendor:board,v2:root=/tmp/a=b.img")

    assert image == ImageInput("vendor:board,v2", "root", Path("/tmp/a=b.img"))


@pytest.mark.parametrize("text", ["", "root=x", "a:b", "a:=x", ":b=x", "a:b="])
def test_an_image_argument_that_is_incomplete_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="HARDWARE_ID:PART=FILE"):
        parse_image_input(text)


@pytest.mark.parametrize(
    "settings",
    [
        FleetSettings("a/b", "h", 1, "https://h"),
        FleetSettings("a", 'h"', 1, "https://h"),
        FleetSettings("a", "h", 0, "https://h"),
        FleetSettings("a", "h", 1, "http://h"),
        FleetSettings("a", "h", 1, "https://h/"),
    ],
)
def test_a_fleet_with_settings_that_devices_refuse_is_not_made(
    tmp_path: Path, settings: FleetSettings
) -> None:
    with pytest.raises(UpdateError):
        initialise(Workspace(tmp_path / "fleet"), settings, NOW)
    assert not (tmp_path / "fleet").exists()


def test_a_second_fleet_does_not_overwrite_the_first(fleet: Fleet) -> None:
    with pytest.raises(ConfigError, match="lies here already"):
        initialise(fleet.workspace, SETTINGS, NOW)


def test_a_classical_fleet_has_no_post_quantum_keys(tmp_path: Path) -> None:
    classical = Fleet(Workspace(tmp_path / "fleet"))

    initialise(classical.workspace, SETTINGS, NOW, Trust(classical_only=True))

    assert not list(classical.workspace.keys.rglob("ml-dsa*"))
    classical.publish()
