"""The settings file, and how a verb reads any file: apart from all that the settings lead to."""

from typing import TYPE_CHECKING, Final

from agent.basics import Basics, load_settings, parse_basics
from agent.errors import ConfigError, UpdateError

if TYPE_CHECKING:  # see `read_basics`
    from agent.config import Config

FILE_BYTES_MAX: Final = 1024 * 1024


def read_config(path: str) -> "Config":
    """`agent.toml`. Raises `ConfigError`."""
    from agent.config import parse_config  # noqa: PLC0415  # see `read_basics`

    return parse_config(_read_settings(path), path)


def read_basics(path: str) -> Basics:
    """A part of `agent.toml`, for a glance, which ends before all of it could be read."""
    return parse_basics(load_settings(_read_settings(path), path))


def read_file(path: str, what: str, advice: str, refusal: type[UpdateError]) -> bytes:
    """A file of bounded length, or the refusal with its name and what to do."""
    try:
        with open(path, "rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise refusal(f"{path}: {what} was expected here: {reason}; {advice}") from error
    if len(content) > FILE_BYTES_MAX:
        raise refusal(f"{path}: {what} of at most {FILE_BYTES_MAX} bytes was expected; {advice}")
    return content


def _read_settings(path: str) -> bytes:
    advice = "name it with --config, or enrol the device"
    return read_file(path, "the device's settings file", advice, ConfigError)


def check_certificates(config: "Config") -> None:
    """See that what TLS needs can be read. Raises `ConfigError`."""
    broker = config.broker
    for key, path in (
        ("broker.authority", broker.authority),
        ("broker.certificate", broker.certificate),
        ("broker.key", broker.key),
        ("repository.authority", config.repository.authority),
    ):
        advice = f"enrol the device, or correct {key} in agent.toml"
        read_file(path, f"the file of {key}", advice, ConfigError)
