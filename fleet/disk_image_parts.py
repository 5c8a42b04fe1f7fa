"""All parts of a slot out of one whole-disk image, each by what the board profile says of it."""

from pathlib import Path
from typing import Final

from agent.board import BoardProfile, parse_profile
from agent.errors import ConfigError
from fleet.disk_image_choice import Choice, Named, parse_choice
from fleet.release import ImageInput

PROFILE_BYTES_MAX: Final = 64 * 1024


def parse_disk_input(text: str) -> tuple[ImageInput, ...]:
    """`PROFILE=FILE`, as the command line takes it: an image for each part of a slot.

    A part that the profile's table `disk_image` does not name is the partition with the part's name as its
    role. Raises `ConfigError`, and `ProfileError` for a profile that is wrong.
    """
    name, separator, file = text.partition("=")
    if not (separator and name and file):
        raise ConfigError(
            f"--disk: PROFILE=FILE was expected, {text!r} found, "
            "for example rpi4-tryboot.toml=disk.img.xz"
        )
    profile = _read(Path(name))
    return tuple(
        ImageInput(profile.hardware_id, part, Path(file), _choice(profile, part, name))
        for part in profile.parts
    )


def _read(path: Path) -> BoardProfile:
    try:
        with path.open("rb") as file:
            content = file.read(PROFILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"--disk: {path}: cannot be read: {error.strerror}") from error
    return parse_profile(content, str(path))


def _choice(profile: BoardProfile, part: str, source: str) -> Choice:
    words = profile.disk_image.get(part)
    if words is None:
        return Named("role", part)
    choice = parse_choice(words)
    if choice is None:
        raise ConfigError(
            f"{source}: disk_image.{part}: a number, name=NAME, label=LABEL or role=ROLE was expected, "
            f"{words!r} found"
        )
    return choice
