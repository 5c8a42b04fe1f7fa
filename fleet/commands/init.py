"""`lockgate-fleet init`: a new fleet with its keys, its root of trust and its certificates."""

import argparse

from fleet import authority
from fleet.commands.signing import now, print_json
from fleet.initialise import Trust, initialise
from fleet.metadata import LIFETIMES, RoleName
from fleet.rotation import all_keys
from fleet.workspace import FleetSettings, Workspace


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("init", help="start a fleet in an empty folder")
    parser.add_argument("--name", required=True, help="name of the fleet")
    parser.add_argument("--broker-host", default="localhost", metavar="HOST")
    parser.add_argument("--broker-port", type=int, default=8883, metavar="PORT")
    parser.add_argument(
        "--repository-url",
        default="https://localhost:8443",
        metavar="URL",
        help="where devices fetch what is published (default: %(default)s)",
    )
    parser.add_argument(
        "--classical-only",
        action="store_true",
        help="no ML-DSA keys: for agents that cannot check them",
    )
    for role in ("releases", "rollouts"):
        parser.add_argument(
            f"--{role}-threshold",
            type=int,
            default=1,
            metavar="N",
            help=f"make N keys for {role} and need all of them",
        )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, workspace: Workspace) -> int:
    """Make the fleet and say which keys to carry away."""
    settings = FleetSettings(
        name=options.name,
        broker_host=options.broker_host,
        broker_port=options.broker_port,
        repository_url=options.repository_url,
    )
    trust = Trust(
        classical_only=options.classical_only,
        releases_threshold=options.releases_threshold,
        rollouts_threshold=options.rollouts_threshold,
    )
    moment = now()
    initialise(workspace, settings, moment, trust)
    authority.create(workspace, settings, moment)
    if options.json:
        print_json({"fleet": settings.name, "folder": str(workspace.root.resolve())})
        return 0
    print(f"fleet {settings.name} lies in {workspace.root.resolve()}\n")
    for keys in all_keys(workspace):
        days = LIFETIMES[keys.role].days
        kind = ", hybrid" if keys.hybrid else ""
        need = f"{keys.threshold} of {len(keys.keys)} keys needed{kind}"
        print(f"  {keys.role:10} {need:32} expires after {days} days")
    print(
        f"\nNow move {_folders(workspace, RoleName.ROOT, RoleName.TARGETS)} to media that are not "
        "online,\nkeep a copy of each key, and run `lockgate-fleet publish`."
    )
    return 0


def _folders(workspace: Workspace, *roles: RoleName) -> str:
    return " and ".join(str(workspace.keys / role.value) for role in roles)
