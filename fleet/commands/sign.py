"""`lockgate-fleet sign`: add signatures to what is staged, or to a copy that was carried here."""

import argparse
from pathlib import Path

from fleet.ceremony import describe, merge, sign_file, sign_staged
from fleet.commands.signing import add_keys, key_folders, now, print_json, print_statuses
from fleet.keys import KeyFolders
from fleet.metadata import STAGED, RoleName
from fleet.rotation import renew
from fleet.staging import Stage
from fleet.workspace import Workspace


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("sign", help="add signatures to a staged role")
    parser.add_argument("role", choices=[role.value for role in STAGED])
    add_keys(parser)
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--file", type=Path, help="sign this copy of stage/metadata/ROLE.json; needs no workspace"
    )
    way.add_argument("--merge", type=Path, metavar="FILE", help="take the signatures of a copy")
    way.add_argument(
        "--renew", action="store_true", help="first make a new version with a new expiry date"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, workspace: Workspace) -> int:
    """Sign, and say what is still missing."""
    role = RoleName(options.role)
    keys = key_folders(options, workspace)
    if options.file is not None:
        return _sign_file(options.file, keys, role, as_json=options.json)
    if options.merge is not None:
        status = merge(workspace, role, options.merge)
    elif options.renew:
        status = renew(workspace, keys, role, now())
    else:
        status = sign_staged(workspace, keys, role)
    if not options.json:
        print("\n".join(describe(Stage(workspace).path(role), role)))
    print_statuses((status,), as_json=options.json)
    return 0


def _sign_file(path: Path, keys: KeyFolders, role: RoleName, *, as_json: bool) -> int:
    lines = describe(path, role)
    added = sign_file(path, keys, role)
    if as_json:
        print_json({"role": role, "file": str(path), "added": list(added)})
        return 0
    print("\n".join(lines))
    print(f"{path}: signed with {', '.join(added)}" if added else f"{path}: was signed already")
    print(f"carry it back and run `lockgate-fleet sign {role} --merge FILE` there")
    return 0
