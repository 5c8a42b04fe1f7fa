"""`lockgate-fleet enrol`: a device's request becomes a folder with all that the device needs."""

import argparse
from pathlib import Path

from agent.errors import ConfigError
from fleet import authority
from fleet.commands.signing import now, print_json
from fleet.enrol import DevicePaths, issue, revoke, write_folder
from fleet.workspace import Workspace


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("enrol", help="give a device its certificate and settings")
    parser.add_argument("device", nargs="?", help="the device's name in this fleet")
    parser.add_argument(
        "--csr", type=Path, metavar="FILE", help="the device's certificate request, PEM"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder to write for the device"
    )
    parser.add_argument("--renew", action="store_true", help="the device is enrolled already")
    parser.add_argument(
        "--revoke", action="store_true", help="the broker refuses this device from now on"
    )
    parser.add_argument(
        "--renew-fleet",
        action="store_true",
        help="instead of a device: new certificates for the broker, the repository and the operator",
    )
    _add_places(parser)
    parser.set_defaults(run=run)


def _add_places(parser: argparse.ArgumentParser) -> None:
    """What `agent.toml` will say; all of it has a usual value."""
    defaults = DevicePaths()
    parser.add_argument(
        "--folder",
        metavar="DIR",
        default=defaults.folder,
        help="where the folder will lie on the device",
    )
    parser.add_argument(
        "--profile",
        metavar="FILE",
        default=defaults.profile,
        help="the board profile on the device",
    )
    parser.add_argument(
        "--key", metavar="FILE", default=defaults.key, help="the private key on the device"
    )
    parser.add_argument(
        "--encryption-key",
        metavar="FILE",
        default=defaults.encryption_key,
        help="where its encryption key lies on the device, if its public half follows the request",
    )
    parser.add_argument(
        "--state", metavar="DIR", default=defaults.state, help="what survives both slots"
    )
    parser.add_argument(
        "--runtime", metavar="DIR", default=defaults.runtime, help="a folder in memory"
    )
    parser.add_argument(
        "--factory-release",
        metavar="NAME",
        default=defaults.factory_release,
        help="what it was made with",
    )
    parser.add_argument(
        "--factory-counter",
        type=int,
        metavar="N",
        default=defaults.factory_counter,
        help="the release counter of that: releases up to it are refused",
    )
    parser.add_argument(
        "--reboot",
        metavar="WORD",
        nargs="+",
        default=defaults.reboot,
        help="the program that reboots; {argument} stands for the bootloader's argument",
    )


def run(options: argparse.Namespace, workspace: Workspace) -> int:
    """Enrol or revoke one device, or renew the fleet's own certificates."""
    if options.renew_fleet:
        authority.renew(workspace, workspace.settings(), now())
        done = {"renewed": "fleet"}
        words = "renewed: restart the broker and the repository server to use them"
    elif options.revoke and options.device:
        revoke(workspace, options.device)
        done = {"revoked": options.device}
        words = f"{options.device}: revoked; let mosquitto read its rules again (SIGHUP)"
    elif options.device and options.csr and options.out:
        _enrol(options, workspace)
        done = {"enrolled": options.device, "folder": str(options.out)}
        words = f"{options.device}: copy {options.out}/ to {options.folder}/ on the device"
    else:
        raise ConfigError(
            "enrol: DEVICE, --csr FILE and --out DIR were expected, or DEVICE --revoke, or --renew-fleet"
        )
    if options.json:
        print_json(dict(done))
    else:
        print(words)
    return 0


def _enrol(options: argparse.Namespace, workspace: Workspace) -> None:
    settings, moment = workspace.settings(), now()
    options.out.mkdir(
        parents=True, exist_ok=True
    )  # before there is a certificate that it could not take
    certificate = issue(
        workspace, options.device, _request(options.csr), moment, renew=options.renew
    )
    paths = DevicePaths(
        folder=options.folder,
        profile=options.profile,
        key=options.key,
        encryption_key=options.encryption_key,
        state=options.state,
        runtime=options.runtime,
        factory_release=options.factory_release,
        factory_counter=options.factory_counter,
        reboot=tuple(options.reboot),
    )
    write_folder(workspace, settings, options.device, certificate, out=options.out, paths=paths)


def _request(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: a certificate request was expected here: {error.strerror}; make it on "
            "the device with `lockgate identity --new`"
        ) from error
