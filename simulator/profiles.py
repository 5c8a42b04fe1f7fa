"""Finds a board profile by its name, in the source tree or where the package has put them."""

import sys
from pathlib import Path
from typing import Final

from agent.board import BoardProfile, parse_profile
from agent.errors import ConfigError

FOLDER: Final = "board-profiles"


def load_profile(name: str) -> BoardProfile:
    """The profile of this name or in this TOML file. Raises `ConfigError`, `ProfileError`."""
    path = Path(name)
    if path.suffix != ".toml":
        path = next((place for place in _places(name) if place.is_file()), path)
    try:
        content = path.read_bytes()
    except OSError as error:
        known = ", ".join(profile_names())
        raise ConfigError(
            f"board {name}: one of {known or 'no'} installed profiles, or a TOML file, was expected: "
            f"{error.strerror}"
        ) from error
    return parse_profile(content, str(path))


def profile_names() -> list[str]:
    """The names of all profiles that came with the package."""
    return sorted({file.stem for folder in _folders() for file in folder.glob("*.toml")})


def _places(name: str) -> list[Path]:
    return [folder / f"{name}.toml" for folder in _folders()]


def _folders() -> list[Path]:
    source_tree = Path(__file__).resolve().parent.parent / FOLDER
    return [source_tree, Path(sys.prefix) / "share" / "lockgate" / FOLDER]
