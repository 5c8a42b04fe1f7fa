"""The settings that every run needs, also one that only looks whether anything is new. Pure.

These are four tables of `agent.toml`; `agent/config.py` reads them with all the others. They are no
dataclasses, because making those takes longer than a glance.
"""

from typing import Final, NamedTuple

from agent.errors import ConfigError
from agent.strict import Fields, Refusal, load_toml

SCHEMA: Final = 1
FILE_BYTES_MAX: Final = 64 * 1024


class DeviceSettings(NamedTuple):
    """Who this device is; `factory_release` names what it was made with, counter 0 when unknown."""

    id: str
    fleet: str
    profile: str
    factory_release: str
    factory_counter: int


class RepositorySettings(NamedTuple):
    """The fleet's static HTTPS servers, tried in this order, and the authority of their certificates."""

    urls: tuple[str, ...]
    authority: str


class PathSettings(NamedTuple):
    """Folders: `state` survives both slots and every power cut, `runtime` is in memory.

    `process` and `root_of_trust` are `/proc` and the fleet's first root metadata.
    """

    state: str
    runtime: str
    process: str
    root_of_trust: str


class TimingSettings(NamedTuple):
    """`check_every_s` without a notice; never more often than `refresh_interval_min_s` with them."""

    check_every_s: int
    refresh_interval_min_s: int
    retry_max_s: int


class Basics(NamedTuple):
    """What a glance needs of the settings."""

    device: DeviceSettings
    repository: RepositorySettings
    paths: PathSettings
    timing: TimingSettings


def load_settings(content: bytes, source: str) -> Fields:
    """All tables of a settings file; `source` names it in errors. Raises `ConfigError`."""
    refusal = Refusal(ConfigError, source)
    fields = load_toml(content, length_max=FILE_BYTES_MAX, refusal=refusal)
    fields.integer("schema", SCHEMA, SCHEMA)
    return fields


def parse_basics(fields: Fields) -> Basics:
    """The basic settings of a file; what else it says is nobody's business here."""
    return Basics(
        device=_device(fields.table("device")),
        repository=_repository(fields.table("repository")),
        paths=_paths(fields.table("paths")),
        timing=_timing(fields.table("timing")),
    )


def _device(fields: Fields) -> DeviceSettings:
    settings = DeviceSettings(
        id=fields.name("id"),
        fleet=fields.name("fleet"),
        profile=fields.text("profile"),
        factory_release=fields.text("factory_release", "factory", length_max=128),
        factory_counter=fields.integer("factory_counter", 0, default=0),
    )
    fields.done()
    return settings


def _repository(fields: Fields) -> RepositorySettings:
    settings = RepositorySettings(urls=fields.texts("urls"), authority=fields.text("authority"))
    for url in settings.urls:
        if not url.startswith("https://") or url.endswith("/"):
            fields.refuse(
                "urls", f"https://... without a slash at the end was expected, {url!r} found"
            )
    if not settings.urls:
        fields.refuse("urls", "at least one https:// address was expected")
    fields.done()
    return settings


def _paths(fields: Fields) -> PathSettings:
    settings = PathSettings(
        state=fields.text("state", "/var/lib/lockgate"),
        runtime=fields.text("runtime", "/run/lockgate"),
        process=fields.text("process", "/proc"),
        root_of_trust=fields.text("root_of_trust", "/etc/lockgate/root.json"),
    )
    fields.done()
    return settings


def _timing(fields: Fields) -> TimingSettings:
    settings = TimingSettings(
        check_every_s=fields.integer("check_every_s", 10, 30 * 86400, default=86400),
        refresh_interval_min_s=fields.integer("refresh_interval_min_s", 1, 86400, default=60),
        retry_max_s=fields.integer("retry_max_s", 1, 86400, default=900),
    )
    fields.done()
    return settings
