"""Where the fleet's certificates lie, who holds them, and the TLS settings made from them.

authority/authority.pem, authority.key     the device CA: signs every certificate of this fleet
authority/HOLDER.pem, HOLDER.key           broker, repository, operator, collector
authority/devices/DEVICE.pem               what was issued to each device; its key never leaves it
authority/revoked/DEVICE.pem               the same, of devices whom the broker refuses for ever
"""

import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from agent.errors import ConfigError
from fleet.workspace import Workspace

OPERATOR_NAME: Final = "fleet-operator"
COLLECTOR_NAME: Final = "fleet-collector"


class Holder(StrEnum):
    """Who holds one of the fleet's own certificates."""

    BROKER = "broker"
    REPOSITORY = "repository"
    OPERATOR = "operator"
    COLLECTOR = "collector"


CLIENT_NAMES: Final = {Holder.OPERATOR: OPERATOR_NAME, Holder.COLLECTOR: COLLECTOR_NAME}
"""The common names of the fleet's own MQTT clients; no device may be called so."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate, its private key, and the authority that the other side's must come from."""

    authority: Path
    certificate: Path
    key: Path


def identity(workspace: Workspace, holder: Holder) -> Identity:
    """The files of one holder."""
    folder = workspace.authority
    return Identity(
        authority=folder / "authority.pem",
        certificate=folder / f"{holder}.pem",
        key=folder / f"{holder}.key",
    )


def authority_key(workspace: Workspace) -> Path:
    """The private key of the device CA."""
    return workspace.authority / "authority.key"


def device_certificate(workspace: Workspace, device: str) -> Path:
    """The copy of what was issued to a device."""
    return workspace.authority / "devices" / f"{device}.pem"


def revoked_certificate(workspace: Workspace, device: str) -> Path:
    """Where the certificate of a revoked device is kept."""
    return workspace.authority / "revoked" / f"{device}.pem"


def enrolled_devices(workspace: Workspace) -> tuple[str, ...]:
    """The names of the devices that were enrolled here and not revoked."""
    folder = workspace.authority / "devices"
    return tuple(sorted(path.stem for path in folder.glob("*.pem")))


def revoked_devices(workspace: Workspace) -> tuple[str, ...]:
    """The names of the devices that were revoked."""
    folder = workspace.authority / "revoked"
    return tuple(sorted(path.stem for path in folder.glob("*.pem")))


def client_context(own: Identity) -> ssl.SSLContext:
    """TLS for a client that trusts this authority alone. Raises `ConfigError`."""
    try:
        context = ssl.create_default_context(cafile=str(own.authority))
        context.load_cert_chain(own.certificate, own.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{own.certificate}: a certificate and its key {own.key.name} from {own.authority.name} "
            f"were expected: {error}; run `lockgate-fleet init`, or enrol again"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
