"""`lockgate-fleet enrol`: a device's request becomes a folder with all that the device needs."""

import argparse
from pathlib import Path

from agent.errors import ConfigError
from fleet import authority
from fleet.commands.signing import now
from fleet.enrol import DevicePaths, issue, revoke, write_folder
from fleet.workspace import Workspace


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    defaults = DevicePaths()
    parser = subparsers.add_parser("enrol", help="give a device its certificate and settings")
    parser.add_argument("device", nargs="?", help="the device's name in this fleet")
    parser.add_argument("--csr", type=Path, help="the device's certificate request, PEM")
    parser.add_argument("--out", type=Path, help="the folder to write for the device")
    parser.add_argument("--renew", action="store_true", help="the device is enrolled already")
    parser.add_argument(
        "--revoke", action="store_true", help="the broker refuses this device from now on"
    )
    parser.add_argument(
        "--renew-fleet",
        action="store_true",
        help="instead of a device: new certificates for the broker, the repository and the operator",
    )
    parser.add_argument(
        "--folder", default=defaults.folder, help="where the folder will lie on the device"
    )
    parser.add_argument(
        "--profile", default=defaults.profile, help="the board profile on the device"
    )
    parser.add_argument("--key", default=defaults.key, help="the private key on the device")
    parser.add_argument(
        "--encryption-key",
        default=defaults.encryption_key,
        help="where its encryption key lies on the device, if its public half follows the request",
    )
    parser.add_argument("--state", default=defaults.state, help="what survives both slots")
    parser.add_argument("--runtime", default=defaults.runtime, help="a folder in memory")
    parser.add_argument(
        "--factory-release", default=defaults.factory_release, help="what it was made with"
    )
    parser.add_argument("--factory-counter", type=int, default=defaults.factory_counter)
    parser.add_argument(
        "--reboot",
        metavar="WORD",
        nargs="+",
        default=defaults.reboot,
        help="the program that reboots; {argument} stands for the bootloader's argument",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, workspace: Workspace) -> int:
    """Enrol one device, or renew the fleet's own certificates."""
    settings = workspace.settings()
    moment = now()
    if options.renew_fleet:
        authority.renew(workspace, settings, moment)
        print("renewed: restart the broker and the repository server to use them")
        return 0
    if options.revoke and options.device:
        revoke(workspace, options.device)
        print(f"{options.device}: revoked; let mosquitto read its rules again (SIGHUP)")
        return 0
    if not (options.device and options.csr and options.out):
        raise ConfigError("enrol: DEVICE, --csr FILE and --out DIR were expected")
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
    print(f"{options.device}: copy {options.out}/ to {options.folder}/ on the device")
    return 0


def _request(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: a certificate request was expected here: {error}") from error
