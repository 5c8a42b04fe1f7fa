"""`lockgate-fleet key`: who may sign what, and how that changes."""

import argparse
from pathlib import Path

from securesystemslib.signer import Key

from fleet import files
from fleet.commands.signing import (
    add_keys,
    key_folders,
    now,
    print_json,
    print_statuses,
)
from fleet.keys import KeyFolders, KeyKind, generate, label, load_public, public_pem, save
from fleet.metadata import RoleName
from fleet.rotation import (
    RoleKeys,
    add_key,
    all_keys,
    choose,
    kind_of,
    new_key,
    role_keys,
    rotate_key,
)
from fleet.staging import Stage
from fleet.workspace import Workspace

ROLES = [role.value for role in RoleName]
KINDS = [kind.value for kind in KeyKind]


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("key", help="list, add, rotate and make keys")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    shown = actions.add_parser("list", help="who may sign what, and which keys are here")
    add_keys(shown)
    added = actions.add_parser("add", help="one more key for a role")
    _add_change(added)
    added.add_argument("--kind", choices=KINDS, default=KeyKind.ED25519.value)
    added.add_argument(
        "--threshold", type=int, metavar="N", help="how many keys must sign from now"
    )
    rotated = actions.add_parser("rotate", help="a new key for an old one")
    _add_change(rotated)
    rotated.add_argument("--old", metavar="KEY", help="which key goes, by its label or id")
    made = actions.add_parser("make", help="a key on this machine, for a fleet that lies elsewhere")
    made.add_argument("folder", type=Path, metavar="DIR")
    made.add_argument("--kind", choices=KINDS, default=KeyKind.ED25519.value)
    parser.set_defaults(run=run)


def _add_change(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("role", choices=ROLES)
    parser.add_argument(
        "--public",
        type=Path,
        metavar="FILE",
        help="take this public key (PEM) instead of making one",
    )
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="write the new private key to DIR/ROLE"
    )
    add_keys(parser)


def run(options: argparse.Namespace, workspace: Workspace) -> int:
    """Do what the action says."""
    keys = KeyFolders(()) if options.action == "make" else key_folders(options, workspace)
    match options.action:
        case "list":
            _list(all_keys(workspace), keys, as_json=options.json)
        case "make":
            _make(options.folder, KeyKind(options.kind), as_json=options.json)
        case "add":
            _add(options, workspace, keys)
        case _:
            _rotate(options, workspace, keys)
    return 0


def _add(options: argparse.Namespace, workspace: Workspace, keys: KeyFolders) -> None:
    role = RoleName(options.role)
    key = _incoming(options, workspace, KeyKind(options.kind))
    statuses = add_key(
        workspace,
        _with_new(options, workspace, keys),
        role,
        key,
        now(),
        threshold=options.threshold,
    )
    print_statuses(statuses, as_json=options.json)


def _rotate(options: argparse.Namespace, workspace: Workspace, keys: KeyFolders) -> None:
    role = RoleName(options.role)
    old = choose(role_keys(Stage(workspace), role), options.old)
    key = _incoming(options, workspace, kind_of(old))
    folders = _with_new(options, workspace, keys)
    statuses = rotate_key(workspace, folders, role, key, now(), old=old.keyid)
    print_statuses(statuses, as_json=options.json)
    if not options.json:
        print(f"keep {label(old)} until this is published; then destroy every copy of it")


def _incoming(options: argparse.Namespace, workspace: Workspace, kind: KeyKind) -> Key:
    if options.public is not None:
        return load_public(options.public)
    folder = KeyFolders((options.into,)) if options.into else None
    return new_key(workspace, RoleName(options.role), kind, folder)


def _with_new(options: argparse.Namespace, workspace: Workspace, keys: KeyFolders) -> KeyFolders:
    """The key folders, and the one that a new key was just written to."""
    return KeyFolders((*keys.folders, options.into or workspace.keys))


def _make(folder: Path, kind: KeyKind, *, as_json: bool) -> None:
    signer = generate(kind)
    private = save(folder, signer)
    public = private.with_suffix(".pub")
    files.replace(public, public_pem(signer))
    if as_json:
        print_json({"private": str(private), "public": str(public)})
        return
    print(f"private key: {private}\npublic key:  {public}")
    print("the fleet takes it with `lockgate-fleet key add ROLE --public FILE`")


def _list(roles: tuple[RoleKeys, ...], keys: KeyFolders, *, as_json: bool) -> None:
    here = {role.role: set(keys.signers(role.role)) for role in roles}
    if as_json:
        print_json({"roles": [_role_document(role, here[role.role]) for role in roles]})
        return
    for role in roles:
        kind = ", hybrid" if role.hybrid else ""
        print(f"{role.role}: {role.threshold} of {len(role.keys)} needed{kind}")
        for key in role.keys:
            place = "here" if key.keyid in here[role.role] else "not here"
            print(f"  {label(key):20} {place}")


def _role_document(role: RoleKeys, here: set[str]) -> dict[str, object]:
    return {
        "role": role.role,
        "threshold": role.threshold,
        "hybrid": role.hybrid,
        "keys": [
            {"label": label(key), "id": key.keyid, "here": key.keyid in here} for key in role.keys
        ],
    }
