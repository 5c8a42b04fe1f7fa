"""The fleet's own certificate authority: who is the broker, the repository, the operator, a device.

One authority signs all of them, and each certificate is good for one side only: a server's cannot log
in at the broker, and a device's cannot pose as the broker to other devices (RFC 5280, section 4.2.1.12).
"""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.errors import ConfigError
from fleet import broker_config, files
from fleet.certificates import CLIENT_NAMES, Holder, authority_key, identity
from fleet.workspace import FleetSettings, Workspace

AUTHORITY_DAYS: Final = 30 * 365
SERVER_DAYS: Final = 2 * 365
OPERATOR_DAYS: Final = 365
DEVICE_DAYS: Final = 20 * 365
CLOCK_SKEW: Final = timedelta(hours=1)
PRIVATE: Final = 0o600
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
PEM: Final = serialization.Encoding.PEM


def create(workspace: Workspace, settings: FleetSettings, now: datetime | None = None) -> None:
    """Make the authority, the certificates of both servers and of the operator, and `broker/`.

    Keys are readable by their owner alone. Raises `ConfigError` when there is an authority already:
    its devices would be lost.
    """
    certificate = identity(workspace, Holder.OPERATOR).authority
    if certificate.exists():
        raise ConfigError(
            f"{certificate}: there is an authority already; "
            "renew its certificates with `lockgate-fleet enrol --renew-fleet`"
        )
    moment = now or datetime.now(UTC)
    workspace.authority.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    # A cut after the key leaves a key without a certificate: the next call makes both anew.
    write_private(authority_key(workspace), key_bytes(key))
    files.replace(certificate, pem(_authority_certificate(settings.name, key, moment)))
    renew(workspace, settings, moment)
    broker_config.write(workspace, settings)


def renew(workspace: Workspace, settings: FleetSettings, now: datetime | None = None) -> None:
    """New keys and certificates for the servers and the operator, from the same authority."""
    moment = now or datetime.now(UTC)
    hosts = {
        Holder.BROKER: settings.broker_host,
        Holder.REPOSITORY: urlsplit(settings.repository_url).hostname or "",
    }
    for holder, host in hosts.items():
        names = server_names(host)
        _renew_one(workspace, holder, host, now=moment, days=SERVER_DAYS, hosts=names)
    for holder, name in CLIENT_NAMES.items():
        _renew_one(workspace, holder, name, now=moment, days=OPERATOR_DAYS, hosts=())


def server_names(host: str) -> tuple[str, ...]:
    """The names a server's certificate carries: its host, or every loopback name for one of them."""
    if not host:
        raise ConfigError("fleet.toml: repository.url: https://HOST... was expected, no host found")
    return LOOPBACK if host in LOOPBACK else (host,)


def sign(
    workspace: Workspace,
    *,
    name: str,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
    hosts: Sequence[str] = (),
) -> bytes:
    """A certificate for this key: a server's when it has hosts, else a client's. Raises `ConfigError`."""
    issuer, issuer_key = _load_authority(workspace)
    usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(name, public_key, now)
        .issuer_name(issuer.subject)
        .not_valid_after(min(now + timedelta(days=days), issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return pem(builder.sign(issuer_key, hashes.SHA256()))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; durable on return."""
    files.replace(path, content, mode=PRIVATE)


def key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as PEM (PKCS #8), not encrypted."""
    return key.private_bytes(
        PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(PEM)


def _renew_one(
    workspace: Workspace,
    holder: Holder,
    name: str,
    *,
    now: datetime,
    days: int,
    hosts: Sequence[str],
) -> None:
    pair = identity(workspace, holder)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = sign(
        workspace, name=name, public_key=key.public_key(), now=now, days=days, hosts=hosts
    )
    # A cut between the two leaves a pair that does not match, which every TLS server refuses: renew again.
    write_private(pair.key, key_bytes(key))
    files.replace(pair.certificate, certificate)


def _authority_certificate(
    fleet: str, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.Certificate:
    name = f"{fleet} devices"[:64]
    return (
        _builder(name, key.public_key(), now)
        .issuer_name(_name(name))
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _builder(
    name: str, public_key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _load_authority(workspace: Workspace) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    path = identity(workspace, Holder.OPERATOR).authority
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        key = serialization.load_pem_private_key(authority_key(workspace).read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path}: the authority and its key were expected here: {error}; "
            "run `lockgate-fleet init`, or bring them back from their copy"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{authority_key(workspace)}: an elliptic-curve key was expected")
    return certificate, key
