"""Enrolment: a device's request becomes its certificate, and a folder with all that it needs.

The device's name is what the operator says, not what the request says; its private key never leaves it.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.errors import ConfigError
from agent.strict import NAME
from fleet import authority, broker_config, files
from fleet.certificates import (
    CLIENT_NAMES,
    Holder,
    device_certificate,
    identity,
    revoked_certificate,
)
from fleet.encryption import device_keys, parse_public
from fleet.workspace import FleetSettings, Workspace

DEVICE_LENGTH_MAX: Final = 64  # RFC 5280, appendix A.1: ub-common-name
REQUEST_BYTES_MAX: Final = 16 * 1024
CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
PUBLIC_KEY: Final = b"-----BEGIN PUBLIC KEY-----"
FIRST_ROOT: Final = "metadata/1.root.json"
STAGED_ROOT: Final = "root_of_trust.json"


@dataclass(frozen=True, slots=True)
class DevicePaths:
    """Where things lie on the device, and how it reboots; the rest has defaults in `agent.toml`."""

    folder: str = "/etc/lockgate"
    profile: str = "/etc/lockgate/board.toml"
    key: str = "/etc/lockgate/device.key"
    encryption_key: str = "/etc/lockgate/encryption.key"
    state: str = "/var/lib/lockgate"
    runtime: str = "/run/lockgate"
    factory_release: str = "factory"
    factory_counter: int = 0
    reboot: tuple[str, ...] = ("systemctl", "reboot", "--reboot-argument={argument}")


def issue(
    workspace: Workspace, device: str, csr_pem: bytes, now: datetime, *, renew: bool = False
) -> bytes:
    """The certificate for a device's request (PKCS #10, PEM); a copy of it is kept.

    Raises `ConfigError` when the request is not in order, or when the device has a certificate already
    and this is no renewal.
    """
    check_name(device)
    public_key = _public_key(device, csr_pem)
    kept = device_certificate(workspace, device)
    if revoked_certificate(workspace, device).exists():
        raise ConfigError(f"{device}: was revoked, and its name with it; enrol it by another name")
    if kept.exists() and not renew:
        raise ConfigError(
            f"{device}: is enrolled already ({kept}); "
            "for a new certificate of the same device add --renew"
        )
    certificate = authority.sign(
        workspace, name=device, public_key=public_key, now=now, days=authority.DEVICE_DAYS
    )
    files.replace(kept, certificate)
    encryption_key = _encryption_key(device, csr_pem)
    if encryption_key:
        files.replace(device_keys(workspace) / f"{device}.pem", encryption_key)
    return certificate


def _encryption_key(device: str, request: bytes) -> bytes:
    """The public key that may follow the request, in PEM; empty without one. Raises `ConfigError`."""
    _, separator, rest = request.partition(PUBLIC_KEY)
    if not separator:
        return b""
    parse_public(separator + rest, f"{device}: behind its request")
    return separator + rest


def revoke(workspace: Workspace, device: str) -> None:
    """Let the broker refuse a device for ever; it takes effect when the broker reads its rules again.

    The name is not used again, because the old certificate would be good for it. Raises `ConfigError`.
    """
    check_name(device)
    kept = device_certificate(workspace, device)
    revoked = revoked_certificate(workspace, device)
    if not kept.is_file() and not revoked.is_file():
        raise ConfigError(f"{device}: was never enrolled here; {kept} was expected")
    (device_keys(workspace) / f"{device}.pem").unlink(missing_ok=True)  # no new payload is for it
    if kept.is_file():
        # A cut between the two leaves a device that is in both folders: revoked, and revoked again.
        files.replace(revoked, kept.read_bytes())
        kept.unlink()
    broker_config.write(workspace, workspace.settings())


def check_name(device: str) -> None:
    """Raise `ConfigError` unless this may be the name of a device."""
    if (
        not NAME.fullmatch(device)
        or device in (".", "..", *CLIENT_NAMES.values())
        or len(device) > DEVICE_LENGTH_MAX
    ):
        raise ConfigError(
            f"device: at most {DEVICE_LENGTH_MAX} letters, digits, . _ - were expected, and neither of "
            f"{', '.join(CLIENT_NAMES.values())}; {device!r} found"
        )


def new_request(device: str) -> tuple[bytes, bytes]:
    """A new private key and the request for it, both PEM: for simulated devices and for tests."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.sign(key, hashes.SHA256())
    return authority.key_bytes(key), signed.public_bytes(authority.PEM)


def write_folder(
    workspace: Workspace,
    settings: FleetSettings,
    device: str,
    certificate: bytes,
    *,
    out: Path,
    paths: DevicePaths,
) -> None:
    """Write what a device needs: certificate.pem, authority.pem, root.json and agent.toml."""
    root = root_of_trust(workspace)
    trusted = identity(workspace, Holder.BROKER).authority.read_bytes()
    files.replace(out / "certificate.pem", certificate)
    files.replace(out / "authority.pem", trusted)
    files.replace(out / "root.json", root)
    text = agent_toml(settings, device, paths)
    if (device_keys(workspace) / f"{device}.pem").is_file():
        text += f"\n[encryption]\nkey = {_text(paths.encryption_key)}\n"
    files.replace(out / "agent.toml", text.encode())


def root_of_trust(workspace: Workspace) -> bytes:
    """The fleet's first root metadata. Raises `ConfigError` when nothing was signed yet."""
    places = (workspace.stage / STAGED_ROOT, workspace.public / FIRST_ROOT)
    for place in places:
        if place.is_file():
            return place.read_bytes()
    raise ConfigError(
        f"{places[0]}: the fleet's root of trust was expected here, or in {places[1]}; "
        "sign and publish the first root metadata before devices are enrolled"
    )


def agent_toml(settings: FleetSettings, device: str, paths: DevicePaths) -> str:
    """The text of a device's `agent.toml`; `agent.config.parse_config` reads it."""
    folder = paths.folder.rstrip("/")
    url = settings.repository_url.rstrip("/")
    return f"""\
schema = 1

[device]
id = {_text(device)}
fleet = {_text(settings.name)}
profile = {_text(paths.profile)}
factory_release = {_text(paths.factory_release)}
factory_counter = {paths.factory_counter}

[broker]
host = {_text(settings.broker_host)}
port = {settings.broker_port}
authority = {_text(f"{folder}/authority.pem")}
certificate = {_text(f"{folder}/certificate.pem")}
key = {_text(paths.key)}

[repository]
urls = [{_text(url)}]
authority = {_text(f"{folder}/authority.pem")}

[paths]
state = {_text(paths.state)}
runtime = {_text(paths.runtime)}
root_of_trust = {_text(f"{folder}/root.json")}

[timing]

[reboot]
command = [{", ".join(_text(word) for word in paths.reboot)}]
"""


def _public_key(device: str, csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        if len(csr_pem) > REQUEST_BYTES_MAX:
            raise ValueError(f"it is longer than {REQUEST_BYTES_MAX} bytes")  # noqa: TRY301  # one sentence
        request = x509.load_pem_x509_csr(csr_pem.partition(PUBLIC_KEY)[0])
        signed = request.is_signature_valid
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{device}: a certificate request (PKCS #10, PEM) was expected: {error}"
        ) from error
    if not signed:
        raise ConfigError(f"{device}: the request is not signed by its own key; make it again")
    for name in names:
        if name.value != device:
            raise ConfigError(
                f"{device}: the request is for {name.value!r}; was it mixed up with another device's?"
            )
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, CURVES):
        raise ConfigError(
            f"{device}: a P-256 or P-384 key was expected; "
            "make one with `openssl ecparam -name prime256v1 -genkey`"
        )
    return key


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are among TOML's."""
    return json.dumps(value, ensure_ascii=False)
