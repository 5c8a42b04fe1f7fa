"""Starts a fleet: its keys, its root of trust and empty rollouts and halts, all signed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root, Targets

from agent.errors import ConfigError
from agent.rollout import Halts, Rollouts, encode_halts, encode_rollouts, halts_path, rollouts_path
from agent.strict import NAME
from fleet import files
from fleet.keys import KeyFolders, KeyKind, generate, save
from fleet.metadata import (
    DELEGATED,
    STAGED,
    RoleName,
    make_delegated,
    make_root,
    make_targets,
)
from fleet.staging import ROOT_OF_TRUST, Stage, countersign
from fleet.workspace import FleetSettings, Workspace

HOST: Final = re.compile(r"[A-Za-z0-9.:-]{1,253}")
URL: Final = re.compile(r"https://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?")
THRESHOLD_MAX: Final = 16
ONE: Final = (KeyKind.ED25519,)


@dataclass(frozen=True, slots=True)
class Trust:
    """How many keys of which kind each offline role gets.

    By default root and targets are hybrid: whoever breaks one of the two kinds of signatures still
    cannot sign. `classical_only` is for fleets with agents that cannot check ML-DSA.
    """

    classical_only: bool = False
    releases_threshold: int = 1
    rollouts_threshold: int = 1

    def plan(self) -> dict[RoleName, tuple[tuple[KeyKind, ...], int]]:
        """The kinds of the keys of each role, and its threshold."""
        both = (KeyKind.ED25519, KeyKind.ML_DSA_65)
        return {
            # Three of 2+2: both kinds in every accepted set, and any one key may be lost.
            RoleName.ROOT: (ONE * 3, 2) if self.classical_only else (both * 2, 3),
            RoleName.TARGETS: (ONE, 1) if self.classical_only else (both, 2),
            RoleName.RELEASES: (ONE * self.releases_threshold, self.releases_threshold),
            RoleName.ROLLOUTS: (ONE * self.rollouts_threshold, self.rollouts_threshold),
            RoleName.HALTS: (ONE, 1),
            RoleName.SNAPSHOT: (ONE, 1),
            RoleName.TIMESTAMP: (ONE, 1),
        }


def initialise(
    workspace: Workspace, settings: FleetSettings, now: datetime, trust: Trust | None = None
) -> None:
    """Make `fleet.toml`, all keys under `keys/`, and version 1 of every role. Publishes nothing.

    Raises `ConfigError` for a folder that has a fleet already. `fleet.toml` is written last: a cut
    leaves a folder that has to be emptied, and says so when it is tried again.
    """
    trust = trust or Trust()
    _check_new(workspace, settings, trust)
    workspace.root.mkdir(parents=True, exist_ok=True)
    with files.locked(workspace.root):
        plan = trust.plan()
        signers = {role: [generate(kind) for kind in kinds] for role, (kinds, _) in plan.items()}
        _save_keys(workspace, signers)
        public = {
            role: ([signer.public_key for signer in signers[role]], threshold)
            for role, (_, threshold) in plan.items()
        }
        _stage_first_versions(workspace, settings.name, public, now)
        workspace.write_settings(settings)


def _check_new(workspace: Workspace, settings: FleetSettings, trust: Trust) -> None:
    if workspace.settings_file.exists() or workspace.keys.exists():
        raise ConfigError(
            f"{workspace.root}: a fleet lies here already; choose another folder with --dir, "
            "or remove what an interrupted init left"
        )
    if not NAME.fullmatch(settings.name) or settings.name in (".", ".."):
        raise ConfigError(f"--name: letters, digits, . _ - were expected, {settings.name!r} found")
    if not HOST.fullmatch(settings.broker_host) or not 0 < settings.broker_port < 65536:
        raise ConfigError(
            "--broker-host, --broker-port: a host and a port were expected, "
            f"{settings.broker_host!r} and {settings.broker_port} found"
        )
    if not URL.fullmatch(settings.repository_url) or settings.repository_url.endswith("/"):
        raise ConfigError(
            "--repository-url: https://HOST... without a slash at the end was expected, "
            f"{settings.repository_url!r} found"
        )
    for threshold in (trust.releases_threshold, trust.rollouts_threshold):
        if not 1 <= threshold <= THRESHOLD_MAX:
            raise ConfigError(
                f"a threshold of 1 to {THRESHOLD_MAX} was expected, {threshold} found"
            )


def _save_keys(workspace: Workspace, signers: Mapping[RoleName, list[CryptoSigner]]) -> None:
    workspace.keys.mkdir(mode=0o700)
    for role, role_signers in signers.items():
        for signer in role_signers:
            save(workspace.keys / role.value, signer)


def _stage_first_versions(
    workspace: Workspace,
    fleet: str,
    keys: Mapping[RoleName, tuple[list[SSlibKey], int]],
    now: datetime,
) -> None:
    stage = Stage(workspace)
    of_root: dict[RoleName, tuple[list[SSlibKey], int]] = {
        role: value for role, value in keys.items() if role not in DELEGATED
    }
    root: Metadata[Root] = Metadata(make_root(of_root, now))
    targets: Metadata[Targets] = Metadata(make_targets(keys, now))
    # Signing a role looks at its delegator and at the root of trust: these must lie there first.
    files.replace(workspace.stage / ROOT_OF_TRUST, root.to_bytes())
    stage.put(RoleName.ROOT, root)
    stage.put(RoleName.TARGETS, targets)
    documents: dict[RoleName, dict[str, bytes]] = {
        RoleName.RELEASES: {},
        RoleName.ROLLOUTS: {rollouts_path(fleet): encode_rollouts(Rollouts(fleet, ()))},
        RoleName.HALTS: {halts_path(fleet): encode_halts(Halts(fleet, ()))},
    }
    for role, role_documents in documents.items():
        for path, content in role_documents.items():
            stage.put_document(path, content)
        stage.put(role, Metadata(make_delegated(role, role_documents, now)))
    for role in STAGED:
        status = countersign(stage, role, KeyFolders((workspace.keys,)))
        assert status.complete, status.sentence
    files.replace(workspace.stage / ROOT_OF_TRUST, stage.content(RoleName.ROOT))
