"""`agent.toml`: who this device is, where its fleet is, and where its files are. Pure.

Strict TOML; paths are taken as they stand, and nothing is searched for. `docs/configuration.md`.
"""

from dataclasses import dataclass
from typing import Final

from agent.basics import (
    DeviceSettings,
    PathSettings,
    RepositorySettings,
    TimingSettings,
    load_settings,
    parse_basics,
)
from agent.limits import NO_LIMITS, LimitSettings, Metered, OnMetered
from agent.strict import Fields

DAY_BYTES_MIN: Final = 64 * 1024
RATE_MIN: Final = 512


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """The fleet's broker, over mutual TLS."""

    host: str
    port: int
    authority: str
    certificate: str
    key: str
    keepalive_s: int


@dataclass(frozen=True, slots=True)
class RebootSettings:
    """The program that reboots; `{argument}` in a word stands for the bootloader's argument.

    Words with `{argument}` are left out when there is none.
    """

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EncryptionSettings:
    """Where the private key lies to which payloads may be encrypted; empty without one."""

    key: str = ""


@dataclass(frozen=True, slots=True)
class CourierSettings:
    """The command with which the courier starts the agent; empty where a service manager does it."""

    agent: tuple[str, ...] = ()


SERVICE_MANAGER: Final = CourierSettings()
NO_ENCRYPTION: Final = EncryptionSettings()


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one device."""

    device: DeviceSettings
    broker: BrokerSettings
    repository: RepositorySettings
    paths: PathSettings
    timing: TimingSettings
    reboot: RebootSettings
    encryption: EncryptionSettings = NO_ENCRYPTION
    limits: LimitSettings = NO_LIMITS
    courier: CourierSettings = SERVICE_MANAGER


def parse_config(content: bytes, source: str) -> Config:
    """The settings in a TOML file; `source` names it in errors. Raises `ConfigError`."""
    fields = load_settings(content, source)
    device, repository, paths, timing = parse_basics(fields)
    config = Config(
        device=device,
        broker=_broker(fields.table("broker")),
        repository=repository,
        paths=paths,
        timing=timing,
        reboot=_reboot(fields.table("reboot")),
        encryption=_encryption(fields),
        limits=_limits(fields),
        courier=_courier(fields),
    )
    fields.done()
    return config


def _broker(fields: Fields) -> BrokerSettings:
    settings = BrokerSettings(
        host=fields.text("host"),
        port=fields.integer("port", 1, 65535, default=8883),
        authority=fields.text("authority"),
        certificate=fields.text("certificate"),
        key=fields.text("key"),
        keepalive_s=fields.integer("keepalive_s", 5, 1800, default=60),
    )
    fields.done()
    return settings


def _encryption(fields: Fields) -> EncryptionSettings:
    if "encryption" not in fields:
        return NO_ENCRYPTION
    table = fields.table("encryption")
    settings = EncryptionSettings(key=table.text("key"))
    table.done()
    return settings


def _limits(fields: Fields) -> LimitSettings:
    if "limits" not in fields:
        return NO_LIMITS
    table, none = fields.table("limits"), NO_LIMITS
    settings = LimitSettings(
        day_bytes_max=table.integer("day_bytes_max", 0, default=0),
        update_bytes_max=table.integer("update_bytes_max", 0, default=0),
        rate_bytes_per_s=table.integer("rate_bytes_per_s", 0, default=0),
        metered=Metered(table.choice("metered", *Metered)) if "metered" in table else none.metered,
        on_metered=OnMetered(table.choice("on_metered", *OnMetered))
        if "on_metered" in table
        else none.on_metered,
        memory_min_mib=table.integer("memory_min_mib", 0, 1024 * 1024, default=0),
        temperature_max_celsius=table.integer("temperature_max_celsius", 0, 150, default=0),
        low_priority=table.boolean("low_priority", default=False),
    )
    table.done()
    for key, least in (("day_bytes_max", DAY_BYTES_MIN), ("rate_bytes_per_s", RATE_MIN)):
        if 0 < table.raw.get(key, 0) < least:
            table.refuse(key, f"0 for no limit, or at least {least} was expected")
    return settings


def _reboot(fields: Fields) -> RebootSettings:
    settings = RebootSettings(command=fields.texts("command", length_max=32))
    if not settings.command:
        fields.refuse("command", "a program and its arguments were expected")
    fields.done()
    return settings


def _courier(fields: Fields) -> CourierSettings:
    if "courier" not in fields:
        return SERVICE_MANAGER
    table = fields.table("courier")
    settings = CourierSettings(agent=table.texts("agent", length_max=32))
    table.done()
    return settings
