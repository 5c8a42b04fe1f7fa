"""Makes releases: images in, payloads and a signed manifest out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from tuf.api.metadata import Targets

from agent.errors import ConfigError, UpdateError
from agent.release import (
    MANIFEST_BYTES_MAX,
    Image,
    Release,
    encode_release,
    manifest_path,
    parse_release,
)
from agent.strict import INTEGER_MAX, NAME
from fleet import files
from fleet.chip_images import ChipInput, encode_chip
from fleet.delta.offer import Offer, with_deltas
from fleet.delta.offer import Watch as DeltaWatch
from fleet.disk_image_choice import Choice, split_choice
from fleet.encrypted_release import plain_bases, seal_images, sealed_encodings
from fleet.encryption import find_recipients
from fleet.images import ImageStream, PickyImage, Taken, open_picky
from fleet.keys import KeyFolders
from fleet.metadata import RoleName
from fleet.payload import LEVELS, EncodedImage, Encoding, encode_full, slot_image
from fleet.staging import Stage, restage
from fleet.verify import SigningStatus
from fleet.workspace import Workspace

SECURITY: Final = "security"
KINDS: Final = ("feature", SECURITY)
NOTES_MAX: Final = 4096
HARDWARE_ID_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class ImageInput:
    """An image file, and the part of the boards with this hardware id that it is for.

    `choice` says which partition when the file is a whole disk.
    """

    hardware_id: str
    part: str
    path: Path
    choice: Choice | None = None


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """What the operator wants to ship."""

    name: str
    counter: int
    kind: str
    images: tuple[ImageInput, ...]
    notes: str = ""
    encoding: Encoding = field(default_factory=Encoding)
    chips: tuple[ChipInput, ...] = ()
    bases: tuple[str, ...] = ()
    """Earlier releases from which devices are expected to come; each gets delta payloads."""
    encrypt_to: tuple[str, ...] = ()
    """Who can read the payloads, as the command line says it; everyone when nobody is named."""
    heed_maps: bool = True
    """Whether block maps beside the images say what of them counts."""


Watch = Callable[[ImageInput, ImageStream], None]
"""Called after every window, for whoever draws a progress bar."""


@dataclass(frozen=True, slots=True)
class MadeRelease:
    """A release with the payloads that were made for it; `status` is None after a dry run."""

    release: Release
    encoded: tuple[EncodedImage, ...]
    status: SigningStatus | None
    taken: tuple[Taken, ...] = ()
    """What of each file became an image, in the order of the request."""


def parse_image_input(text: str) -> ImageInput:
    """`HARDWARE_ID:PART=FILE`, as the command line takes it. Raises `ConfigError`."""
    place, separator, path = text.partition("=")
    hardware_id, colon, part = place.rpartition(":")
    if not (separator and path and colon and hardware_id and part):
        raise ConfigError(
            f"--image: HARDWARE_ID:PART=FILE was expected, {text!r} found, "
            "for example raspberrypi,4-model-b:root=root.img.xz"
        )
    return ImageInput(hardware_id, part, *split_choice(path))


def releases(workspace: Workspace) -> tuple[Release, ...]:
    """All releases of the stage, published or not, by counter."""
    stage = Stage(workspace)
    targets = stage.targets(RoleName.RELEASES).signed.targets.values()
    found = (parse_release(stage.document(target)) for target in targets)
    return tuple(sorted(found, key=lambda release: release.counter))


def find_release(workspace: Workspace, name: str) -> Release:
    """The release of this name. Raises `ConfigError`."""
    return _named(releases(workspace), name)


def _named(known: tuple[Release, ...], name: str) -> Release:
    for release in known:
        if release.name == name:
            return release
    names = ", ".join(release.name for release in known) or "none"
    raise ConfigError(f"release {name!r}: not found; there are: {names}")


def add_release(
    workspace: Workspace,
    keys: KeyFolders,
    request: ReleaseRequest,
    now: datetime,
    *,
    watch: Watch | None = None,
    watch_delta: DeltaWatch | None = None,
    dry_run: bool = False,
) -> MadeRelease:
    """Make the payloads of a release and stage its manifest, signed with the keys that are found.

    Raises `ConfigError` for wrong input, `StateError` for a disk that is full. A cut before the last
    line leaves blobs that nothing names, and the same command makes them again.
    """
    _check_request(request)
    known = releases(workspace)
    _check_new(known, request)
    keys.signers(RoleName.RELEASES)  # before hours of work, not after: a key that cannot be read
    bases = tuple(_named(known, name) for name in request.bases)
    stage = Stage(workspace)
    recipients = find_recipients(workspace, request.encrypt_to) if request.encrypt_to else None
    aside = dry_run or recipients is not None
    with _blob_folder(stage, aside=aside) as folder, _blob_folder(stage, aside=True) as opened:
        done = tuple(_encode(image, folder, request, watch) for image in request.images)
        encoded = tuple(made for made, _ in done)
        taken = tuple(what for _, what in done)
        images = tuple(
            slot_image(made, image.hardware_id, image.part)
            for image, made in zip(request.images, encoded, strict=True)
        )
        workers = request.encoding.threads
        readable, blobs = plain_bases(bases, stage.blobs, opened, workspace)
        offer = Offer(readable, blobs, folder, workers, watch_delta or _unwatched)
        images = tuple(with_deltas(image, offer) for image in images)
        chips = tuple(encode_chip(chip, folder, request.encoding) for chip in request.chips)
        images += tuple(image for image, _ in chips)
        encoded += tuple(made for _, made in chips)
        if recipients is not None:
            into = folder if dry_run else stage.blobs
            images = seal_images(images, folder, into, recipients)
            encoded = sealed_encodings(encoded, images, into)
    release, manifest = _release(request, images, now)
    if dry_run:
        return MadeRelease(release, encoded, None, taken)
    with files.locked(workspace.root):
        _check_new(releases(workspace), request)  # making payloads takes long enough for another
        target = stage.put_document(manifest_path(release.name), manifest)

        def list_it(role: Targets) -> None:
            role.targets[target.path] = target

        status = restage(stage, RoleName.RELEASES, keys, now, list_it)
        return MadeRelease(release, encoded, status, taken)


def _release(
    request: ReleaseRequest, images: tuple[Image, ...], now: datetime
) -> tuple[Release, bytes]:
    """The release and its manifest."""
    release = Release(
        name=request.name,
        counter=request.counter,
        kind=request.kind,
        created=now.replace(microsecond=0),
        notes=request.notes,
        images=images,
    )
    manifest = encode_release(release)
    if len(manifest) > MANIFEST_BYTES_MAX:
        raise ConfigError(f"release {release.name}: the manifest is longer than devices take")
    return release, manifest


def _unwatched(_image: Image, _base: Release, _done: int, _total: int) -> None:
    """Nobody watches."""


@contextmanager
def _blob_folder(stage: Stage, *, aside: bool) -> Iterator[Path]:
    if not aside:
        yield stage.blobs
        return
    with files.aside(stage.workspace.root, stage.workspace.stage) as folder:
        yield folder


def _check_request(request: ReleaseRequest) -> None:
    if not NAME.fullmatch(request.name) or request.name in (".", ".."):
        raise ConfigError(
            f"release: a name of letters, digits, . _ - was expected, {request.name!r} found"
        )
    if request.kind not in KINDS:
        raise ConfigError(f"--kind: one of {', '.join(KINDS)} was expected, {request.kind!r} found")
    if len(request.notes) > NOTES_MAX or not request.notes.isprintable():
        raise ConfigError(
            f"--notes: one line of at most {NOTES_MAX} printable characters was expected"
        )
    if request.encoding.level not in LEVELS:
        raise ConfigError(
            f"--level: {LEVELS.start} to {LEVELS.stop - 1} was expected, "
            f"{request.encoding.level} found"
        )
    if not request.images:
        raise ConfigError(
            "--image: at least one HARDWARE_ID:PART=FILE was expected, or --disk PROFILE=FILE"
        )
    places: set[tuple[str, str]] = set()
    for image in request.images:
        _check_place(image)
        if (image.hardware_id, image.part) in places:
            raise ConfigError(
                f"--image: {image.hardware_id}:{image.part} stands twice; one image for each part"
            )
        places.add((image.hardware_id, image.part))


def _check_place(image: ImageInput) -> None:
    if not NAME.fullmatch(image.part) or image.part in (".", ".."):
        raise ConfigError(f"--image: the name of a part was expected, {image.part!r} found")
    if not image.hardware_id.isprintable() or len(image.hardware_id) > HARDWARE_ID_MAX:
        raise ConfigError(
            f"--image: a hardware id of at most {HARDWARE_ID_MAX} printable characters was expected"
        )


def _check_new(known: tuple[Release, ...], request: ReleaseRequest) -> None:
    if request.name in {release.name for release in known}:
        raise ConfigError(
            f"release {request.name!r} exists already; what devices may have does not change: "
            "choose another name"
        )
    highest = max((release.counter for release in known), default=0)
    if not highest < request.counter <= INTEGER_MAX:
        raise ConfigError(
            f"--counter: more than {highest}, the highest of all releases, was expected, "
            f"{request.counter} found; devices never go down"
        )


def _encode(
    image: ImageInput, folder: Path, request: ReleaseRequest, watch: Watch | None
) -> tuple[EncodedImage, Taken]:
    picky = PickyImage(image.path, image.choice, request.heed_maps)
    with open_picky(picky) as (stream, taken):

        def progress() -> None:
            if watch is not None:
                watch(image, stream)

        try:
            return encode_full(stream, folder, request.encoding, progress), taken
        except ConfigError as error:
            raise _about(image.path, error) from error


def _about(path: Path, error: UpdateError) -> UpdateError:
    """The same error, with the name of the file in front."""
    sentence = str(error)
    return error if sentence.startswith(str(path)) else type(error)(f"{path}: {sentence}")
