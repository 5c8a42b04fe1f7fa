"""How the guard reads what is published, and halts with the one online key that stopping needs."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tuf.api.metadata import Targets

from agent.errors import TrustError
from agent.rollout import (
    Halts,
    Rollouts,
    encode_halts,
    halts_path,
    parse_halts,
    parse_rollouts,
    rollouts_path,
)
from fleet import files
from fleet.guard import HaltWish
from fleet.keys import KeyFolders
from fleet.metadata import RoleName, decode
from fleet.publish import publish
from fleet.published import Published
from fleet.rollout import current_halts, find, halted
from fleet.staging import Stage, restage
from fleet.workspace import Workspace


@dataclass(frozen=True, slots=True)
class WorkspaceRail:
    """The rail of one workspace, where the halts, snapshot and timestamp keys must lie."""

    workspace: Workspace

    def documents(self) -> tuple[Rollouts, Halts]:
        """What devices can fetch now; empty before the first publication. Raises `TrustError`."""
        fleet = self.workspace.settings().name
        rollouts = self._published(RoleName.ROLLOUTS, rollouts_path(fleet))
        halts = self._published(RoleName.HALTS, halts_path(fleet))
        return (
            parse_rollouts(rollouts, fleet) if rollouts is not None else Rollouts(fleet, ()),
            parse_halts(halts, fleet) if halts is not None else Halts(fleet, ()),
        )

    def halt(self, wish: HaltWish) -> None:
        """Halt the issue that failed, even when a later one waits in the stage, and publish that.

        A cut before the publication leaves a staged halt, which the next call publishes.
        """
        now = datetime.now(UTC)
        keys = KeyFolders((self.workspace.keys,))
        self._stage_halt(wish, keys, now)
        publish(self.workspace, keys, now, only=(RoleName.HALTS,))

    def _stage_halt(self, wish: HaltWish, keys: KeyFolders, now: datetime) -> None:
        rollouts, _ = self.documents()
        failed = replace(find(rollouts, wish.rollout), reissue=wish.reissue)
        with files.locked(self.workspace.root):
            stage = Stage(self.workspace)
            before = current_halts(self.workspace)
            after = halted(before, failed, wish.reason, now)
            if after == before and stage.status(RoleName.HALTS).complete:
                return
            path = halts_path(after.fleet)
            target = stage.put_document(path, encode_halts(after))

            def list_it(signed: Targets) -> None:
                signed.targets[path] = target

            restage(stage, RoleName.HALTS, keys, now, list_it)

    def _published(self, role: RoleName, path: str) -> bytes | None:
        published = Published(self.workspace.public)
        content = published.current(role)
        if content is None:
            return None
        target = decode(content, Targets, role.value).signed.targets.get(path)
        document = published.document(target) if target is not None else None
        if document is None:
            raise TrustError(f"{published.folder}: {path} was expected; publish again")
        return document
