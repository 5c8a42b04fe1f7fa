"""What encryption changes when a release is made: its payloads are sealed last, and bases are opened first.

Plain payloads lie only in a folder that is thrown away; what is staged can be read by the recipients alone.
"""

from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.errors import ConfigError, PayloadError, StateError
from agent.release import FULL, Image, Payload, Release
from fleet.encryption import Recipients, archive_key, decrypt_payload, encrypt_payload
from fleet.payload import EncodedImage
from fleet.workspace import Workspace


def seal_images(
    images: tuple[Image, ...], folder: Path, into: Path, recipients: Recipients
) -> tuple[Image, ...]:
    """The images with payloads that only the recipients can read, stored as `into/SHA256`."""
    into.mkdir(parents=True, exist_ok=True)
    return tuple(
        replace(
            image,
            payloads=tuple(
                encrypt_payload(folder / one.blob, one, image, recipients, into)
                for one in image.payloads
            ),
        )
        for image in images
    )


def sealed_encodings(
    encoded: tuple[EncodedImage, ...], images: tuple[Image, ...], into: Path
) -> tuple[EncodedImage, ...]:
    """What was encoded, as it is stored now."""
    return tuple(
        replace(one, payload=image.payloads[0], path=into / image.payloads[0].blob)
        for one, image in zip(encoded, images, strict=True)
    )


def plain_bases(
    bases: tuple[Release, ...], blobs: Path, folder: Path, workspace: Workspace
) -> tuple[tuple[Release, ...], Path]:
    """The bases with a full payload that can be read for each image, and the folder that has them.

    Opened ones are written into `folder`, beside links to the others. Raises `ConfigError` when the
    operator's own key does not open one.
    """
    if all(_plain(image) is not None for release in bases for image in release.images):
        return bases, blobs
    key_pem = archive_key(workspace).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    opened = []
    for release in bases:
        images = tuple(_readable(image, blobs, folder, key_pem) for image in release.images)
        opened.append(replace(release, images=images))
    return tuple(opened), folder


def _plain(image: Image) -> Payload | None:
    return next(
        (one for one in image.payloads if one.kind == FULL and one.encryption is None), None
    )


def _readable(image: Image, blobs: Path, folder: Path, key_pem: bytes) -> Image:
    plain = _plain(image)
    if plain is not None:
        link = folder / plain.blob
        if not link.exists():
            link.symlink_to((blobs / plain.blob).resolve())
        return replace(image, payloads=(plain,))
    sealed = next(one for one in image.payloads if one.kind == FULL)
    try:
        plain = decrypt_payload(blobs / sealed.blob, sealed, image, key_pem, folder)
    except (PayloadError, StateError) as error:
        raise ConfigError(
            f"--from: image {image.part} is encrypted, and keys/encryption/archive.pem was expected to "
            f"open it: {error}; bring that key back, or add the release without --from"
        ) from error
    return replace(image, payloads=(plain,))
