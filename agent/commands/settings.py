"""The settings file, and how a verb reads any file: apart from all that the settings lead to."""

from pathlib import Path
from typing import Final

from agent.config import Config, parse_config
from agent.errors import ConfigError, UpdateError

FILE_BYTES_MAX: Final = 1024 * 1024


def read_config(path: str) -> Config:
    """`agent.toml`. Raises `ConfigError`."""
    advice = "name it with --config, or enrol the device"
    return parse_config(read_file(path, "the device's settings file", advice, ConfigError), path)


def read_file(path: str, what: str, advice: str, refusal: type[UpdateError]) -> bytes:
    """A file of bounded length, or the refusal with its name and what to do."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise refusal(f"{path}: {what} was expected here: {reason}; {advice}") from error
    if len(content) > FILE_BYTES_MAX:
        raise refusal(f"{path}: {what} of at most {FILE_BYTES_MAX} bytes was expected; {advice}")
    return content


def check_certificates(config: Config) -> None:
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
