"""Certificates: who gets one, for what, and what a device's folder holds."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.config import parse_config
from agent.errors import ConfigError
from fleet import authority, enrol
from fleet.certificates import Holder, authority_key, device_certificate, identity
from fleet.workspace import Workspace
from tests.fleet.running.parts import FLEET, NOW, new_fleet


def request_for(name: str | None, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    names = [] if name is None else [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_private_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    fleet = new_fleet(tmp_path)
    keys = [authority_key(fleet), *(identity(fleet, holder).key for holder in Holder)]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_an_authority_is_never_made_twice(fleet: Workspace) -> None:
    before = authority_key(fleet).read_bytes()
    with pytest.raises(ConfigError, match="renew"):
        authority.create(fleet, fleet.settings())
    assert authority_key(fleet).read_bytes() == before


def test_renewing_keeps_the_authority_and_changes_the_others(tmp_path: Path) -> None:
    fleet = new_fleet(tmp_path)
    before = {holder: identity(fleet, holder).certificate.read_bytes() for holder in Holder}
    trusted = identity(fleet, Holder.BROKER).authority.read_bytes()
    authority.renew(fleet, fleet.settings())
    assert identity(fleet, Holder.BROKER).authority.read_bytes() == trusted
    for holder, certificate in before.items():
        assert identity(fleet, holder).certificate.read_bytes() != certificate


def test_a_devices_certificate_is_for_its_name_and_for_clients_only(fleet: Workspace) -> None:
    _, request = enrol.new_request("named")
    content = enrol.issue(fleet, "named", request, NOW)
    certificate = x509.load_pem_x509_certificate(content)
    (name,) = certificate.subject
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert name.value == "named"
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.not_valid_after_utc - NOW > timedelta(days=10 * 365)
    assert device_certificate(fleet, "named").read_bytes() == content


def test_the_operators_word_names_the_device_not_the_requests(fleet: Workspace) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    certificate = x509.load_pem_x509_certificate(
        enrol.issue(fleet, "nameless", request_for(None, key), NOW)
    )
    assert [part.value for part in certificate.subject] == ["nameless"]


def test_a_second_enrolment_needs_to_be_a_renewal(fleet: Workspace) -> None:
    _, request = enrol.new_request("again")
    first = enrol.issue(fleet, "again", request, NOW)
    with pytest.raises(ConfigError, match="--renew"):
        enrol.issue(fleet, "again", request, NOW)
    assert enrol.issue(fleet, "again", request, NOW, renew=True) != first


def test_a_revoked_name_is_never_used_again(tmp_path: Path) -> None:
    fleet = new_fleet(tmp_path)
    _, request = enrol.new_request("lost")
    with pytest.raises(ConfigError, match="never enrolled"):
        enrol.revoke(fleet, "lost")
    enrol.issue(fleet, "lost", request, NOW)
    enrol.revoke(fleet, "lost")
    enrol.revoke(fleet, "lost")
    assert "user lost\ntopic deny lockgate/berlin/#" in (fleet.broker / "acl").read_text()
    with pytest.raises(ConfigError, match="another name"):
        enrol.issue(fleet, "lost", request, NOW, renew=True)


P256 = ec.generate_private_key(ec.SECP256R1())
FORGED = bytearray(
    x509.load_pem_x509_csr(request_for("heron", P256)).public_bytes(serialization.Encoding.DER)
)
FORGED[-1] ^= 1
REFUSED = {
    "no request": (b"hello", "PKCS #10"),
    "a long one": (b"-" * 20_000, "longer than"),
    "another name": (request_for("crane", P256), "mixed up"),
    "another curve": (
        request_for("heron", ec.generate_private_key(ec.SECP521R1())),
        "P-256 or P-384",
    ),
    "another kind of key": (
        request_for("heron", rsa.generate_private_key(65537, 2048)),
        "P-256 or P-384",
    ),
    "a forged signature": (
        x509.load_der_x509_csr(bytes(FORGED)).public_bytes(serialization.Encoding.PEM),
        "own key",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_that_is_not_in_order_is_refused(fleet: Workspace, case: str) -> None:
    request, sentence = REFUSED[case]
    with pytest.raises(ConfigError, match=sentence):
        enrol.issue(fleet, "heron", request, NOW)
    assert not device_certificate(fleet, "heron").exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a+b", "#", "fleet-operator", "fleet-collector", "n" * 65]
)
def test_names_that_mean_something_else_are_refused(fleet: Workspace, name: str) -> None:
    with pytest.raises(ConfigError, match="device: at most 64"):
        enrol.issue(fleet, name, b"", NOW)


def test_a_devices_folder_is_all_that_its_agent_needs(tmp_path: Path) -> None:
    fleet = new_fleet(tmp_path / "fleet")
    (fleet.stage).mkdir()
    (fleet.stage / "root_of_trust.json").write_bytes(b"{}")
    _, request = enrol.new_request("heron")
    certificate = enrol.issue(fleet, "heron", request, NOW)
    out = tmp_path / "heron"
    enrol.write_folder(
        fleet,
        fleet.settings(),
        "heron",
        certificate,
        out=out,
        paths=enrol.DevicePaths(factory_release='os "6"', factory_counter=6),
    )
    config = parse_config((out / "agent.toml").read_bytes(), "agent.toml")
    assert (config.device.id, config.device.fleet) == ("heron", FLEET)
    assert (config.device.factory_release, config.device.factory_counter) == ('os "6"', 6)
    assert config.repository.urls == ("https://localhost:8443",)
    assert config.broker.certificate == "/etc/lockgate/certificate.pem"
    assert (out / "certificate.pem").read_bytes() == certificate
    assert (out / "authority.pem").read_bytes().startswith(b"-----BEGIN CERTIFICATE")
    assert (out / "root.json").read_bytes() == b"{}"


def test_a_fleet_without_a_root_of_trust_enrols_nobody(tmp_path: Path) -> None:
    fleet = new_fleet(tmp_path / "fleet")
    with pytest.raises(ConfigError, match="root of trust"):
        enrol.write_folder(
            fleet, fleet.settings(), "heron", b"", out=tmp_path, paths=enrol.DevicePaths()
        )
