"""`lockgate identity`: who this device is to its fleet; once, its key and the request to certify it."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from agent.commands.output import rows, show
from agent.commands.settings import read_config
from agent.errors import ConfigError
from agent.strict import NAME, format_time


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("identity", help="who this device is; --new makes its key")
    parser.add_argument(
        "--new",
        action="store_true",
        help="make the key, unless there is one, and print a request to certify it",
    )
    parser.add_argument(
        "--device", metavar="ID", help="with --new: the id, before there is an agent.toml"
    )
    parser.add_argument(
        "--key", metavar="FILE", help="with --new: where the key will lie, likewise"
    )
    parser.add_argument(
        "--encryption-key",
        metavar="FILE",
        help="with --new: make the key for encrypted releases too, here; its public half follows the request",
    )
    parser.add_argument("--out", metavar="FILE", help="with --new: write the request to this file")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the identity, or the request for one."""
    return _new(options) if options.new else _show(options)


def _show(options: argparse.Namespace) -> int:
    from agent.linux.certificate import (  # noqa: PLC0415  # brings cryptography
        key_belongs,
        read_certificate,
    )

    config = read_config(options.config)
    broker = config.broker
    certificate = read_certificate(broker.certificate)
    belongs = key_belongs(broker.certificate, broker.key)
    days_left = (certificate.not_after - datetime.now(UTC)).days
    document = {
        "device": config.device.id,
        "fleet": config.device.fleet,
        "certificate": broker.certificate,
        "common_name": certificate.common_name,
        "not_before": format_time(certificate.not_before),
        "not_after": format_time(certificate.not_after),
        "days_left": days_left,
        "key": broker.key,
        "key_belongs": belongs,
        "encryption_key": config.encryption.key,
    }
    lines = rows(
        (
            ("device", f"{config.device.id} of fleet {config.device.fleet}"),
            ("certificate", f"{broker.certificate}, for {certificate.common_name}"),
            (
                "valid",
                f"{document['not_before']} to {document['not_after']}, {days_left} days left",
            ),
            (
                "key",
                f"{broker.key}{'' if belongs else ', which is NOT the key of the certificate'}",
            ),
            ("encryption key", config.encryption.key or "none"),
        )
    )
    show(options, document, lines)
    return 0


def _new(options: argparse.Namespace) -> int:
    from agent.linux.identity import (  # noqa: PLC0415  # brings cryptography
        create_encryption_key,
        create_identity,
    )

    device, key, encryption_key = options.device, options.key, options.encryption_key or ""
    if not (device and key):
        if not Path(options.config).exists():
            raise ConfigError(
                f"--device ID and --key FILE were expected, because there is no {options.config} yet"
            )
        config = read_config(options.config)
        device, key = device or config.device.id, key or config.broker.key
        encryption_key = encryption_key or config.encryption.key
    if not NAME.fullmatch(
        device
    ):  # the fleet would refuse it, and only after the request was carried there
        raise ConfigError(f"--device: letters, digits, . _ - were expected, {device!r} found")
    request = create_identity(key, device).decode()
    if encryption_key:
        request += create_encryption_key(encryption_key).decode()
    if options.out:
        _write(options.out, request)
    document = {
        "device": device,
        "key": key,
        "encryption_key": encryption_key,
        "request": request,
    }
    told = [f"the request is in {options.out}"] if options.out else [request.rstrip("\n")]
    show(options, document, told)
    return 0


def _write(path: str, request: str) -> None:
    try:
        Path(path).write_text(request)
    except OSError as error:
        raise ConfigError(f"{path}: the request cannot be written: {error.strerror}") from error
