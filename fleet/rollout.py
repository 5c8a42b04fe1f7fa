"""Rollouts and halts: changes to the two documents, pure, and the same changes made in the stage.

Starting, pausing or widening a rollout needs the keys of `rollouts`. Halting needs the one online key of
`halts`, changes nothing else, and is meant to be done by whoever notices first.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Final, assert_never

from tuf.api.metadata import TargetFile, Targets

from agent.errors import ConfigError, TrustError
from agent.release import Release
from agent.rollout import (
    BUCKETS,
    Audience,
    Halt,
    Halts,
    Phase,
    Rollout,
    Rollouts,
    RolloutState,
    Window,
    encode_halts,
    encode_rollouts,
    halts_path,
    parse_halts,
    parse_rollouts,
    rollouts_path,
)
from agent.strict import NAME
from fleet import files
from fleet.keys import KeyFolders
from fleet.metadata import RoleName, decode
from fleet.published import Published
from fleet.release import find_release
from fleet.staging import Stage, restage
from fleet.verify import SigningStatus
from fleet.workspace import Workspace

FAILURES_MAX: Final = 3
REASON_MAX: Final = 1024
EVERYONE: Final = Audience(hardware_ids=(), devices=())


@dataclass(frozen=True, slots=True)
class PhaseWish:
    """A phase as people say it: a share in hundredths of a per cent, and when it begins."""

    share: int
    begins: timedelta | datetime

    def at(self, now: datetime) -> Phase:
        """The phase with its date."""
        begins = self.begins if isinstance(self.begins, datetime) else now + self.begins
        return Phase(share=self.share, not_before=begins.replace(microsecond=0))


DEFAULT_PHASES: Final = (
    PhaseWish(500, timedelta()),
    PhaseWish(2500, timedelta(hours=24)),
    PhaseWish(BUCKETS, timedelta(hours=72)),
)


@dataclass(frozen=True, slots=True)
class RolloutRequest:
    """What the people who approve want to start."""

    id: str
    release: str
    phases: tuple[PhaseWish, ...] = DEFAULT_PHASES
    audience: Audience = EVERYONE
    window: Window | None = None
    failures_max: int = FAILURES_MAX


class Verb(StrEnum):
    """What can be done to a rollout that was started."""

    PAUSE = "pause"
    RESUME = "resume"
    FINISH = "finish"
    REISSUE = "reissue"


def make_rollout(request: RolloutRequest, counter: int, now: datetime) -> Rollout:
    """The rollout that was asked for. Pure; raises `ConfigError`."""
    if not NAME.fullmatch(request.id) or request.id in (".", ".."):
        raise ConfigError(
            f"rollout: an id of letters, digits, . _ - was expected, {request.id!r} found"
        )
    if request.failures_max < 0:
        raise ConfigError(f"--failures-max: 0 or more was expected, {request.failures_max} found")
    for device in request.audience.devices:
        if not NAME.fullmatch(device):
            raise ConfigError(f"--device: a device id was expected, {device!r} found")
    phases = tuple(wish.at(now) for wish in request.phases)
    _check_phases(phases)
    return Rollout(
        id=request.id,
        release=request.release,
        counter=counter,
        state=RolloutState.ACTIVE,
        reissue=0,
        failures_max=request.failures_max,
        audience=request.audience,
        phases=phases,
        window=request.window,
    )


def make_rollout_of(release: Release, request: RolloutRequest, now: datetime) -> Rollout:
    """The rollout of a release that is here. Pure; raises `ConfigError` for boards it has no image for."""
    known = {image.hardware_id for image in release.images}
    for hardware_id in request.audience.hardware_ids:
        if hardware_id not in known:
            raise ConfigError(
                f"--hardware-id: one for which release {release.name!r} has an image was expected, "
                f"{hardware_id!r} found; there are: {', '.join(sorted(known))}"
            )
    return make_rollout(request, release.counter, now)


def _check_phases(phases: tuple[Phase, ...]) -> None:
    if not phases:
        raise ConfigError("--phase: at least one was expected")
    for phase in phases:
        if not 0 <= phase.share <= BUCKETS:
            raise ConfigError(
                f"--phase: 0 to 100 per cent was expected, {phase.share / 100:g} found"
            )
    for before, after in pairwise(phases):
        if after.share <= before.share or after.not_before < before.not_before:
            raise ConfigError(
                "--phase: each a larger share than the one before it, and not earlier, was "
                f"expected; {after.share / 100:g} % follows {before.share / 100:g} %"
            )


def started(rollouts: Rollouts, rollout: Rollout) -> Rollouts:
    """The document with one more rollout. Pure; raises `ConfigError` for an id that is taken."""
    if rollout.id in {known.id for known in rollouts.rollouts}:
        raise ConfigError(
            f"rollout {rollout.id!r} exists already; choose another id, "
            f"or run `lockgate-fleet rollout reissue {rollout.id}`"
        )
    return replace(rollouts, rollouts=(*rollouts.rollouts, rollout))


def find(rollouts: Rollouts, rollout_id: str) -> Rollout:
    """The rollout of this id. Raises `ConfigError`."""
    for rollout in rollouts.rollouts:
        if rollout.id == rollout_id:
            return rollout
    known = ", ".join(rollout.id for rollout in rollouts.rollouts) or "none"
    raise ConfigError(f"rollout {rollout_id!r}: not found; there are: {known}")


def changed(rollouts: Rollouts, rollout_id: str, verb: Verb) -> Rollouts:
    """The document after a verb. Pure; raises `ConfigError` when the verb does not apply."""
    before = find(rollouts, rollout_id)
    after = _apply(before, verb)
    return replace(
        rollouts,
        rollouts=tuple(after if known is before else known for known in rollouts.rollouts),
    )


def _apply(rollout: Rollout, verb: Verb) -> Rollout:
    if rollout.state is RolloutState.FINISHED:
        raise ConfigError(f"rollout {rollout.id!r} is finished; start another one")
    match verb:
        case Verb.PAUSE:
            return _moved(rollout, RolloutState.ACTIVE, RolloutState.PAUSED)
        case Verb.RESUME:
            return _moved(rollout, RolloutState.PAUSED, RolloutState.ACTIVE)
        case Verb.FINISH:
            return replace(rollout, state=RolloutState.FINISHED)
        case Verb.REISSUE:
            return replace(rollout, reissue=rollout.reissue + 1, state=RolloutState.ACTIVE)
        case _:
            assert_never(verb)


def _moved(rollout: Rollout, expected: RolloutState, state: RolloutState) -> Rollout:
    if rollout.state is not expected:
        raise ConfigError(f"rollout {rollout.id!r}: {expected} was expected, it is {rollout.state}")
    return replace(rollout, state=state)


def halt_of(halts: Halts, rollout: Rollout) -> Halt | None:
    """The halt of the present issue of a rollout, if there is one."""
    for halt in halts.halts:
        if (halt.rollout, halt.reissue) == (rollout.id, rollout.reissue):
            return halt
    return None


def halted(halts: Halts, rollout: Rollout, reason: str, now: datetime) -> Halts:
    """The document with a halt of the present issue; the same one when it is there. Pure."""
    if not reason or not reason.isprintable() or len(reason) > REASON_MAX:
        raise ConfigError(
            f"--reason: one line of at most {REASON_MAX} printable characters was expected"
        )
    if halt_of(halts, rollout) is not None:
        return halts
    halt = Halt(rollout.id, rollout.reissue, reason, now.replace(microsecond=0))
    return replace(halts, halts=(*halts.halts, halt))


def current_rollouts(workspace: Workspace) -> Rollouts:
    """The newest rollouts, published or not."""
    fleet = workspace.settings().name
    return parse_rollouts(_document(workspace, RoleName.ROLLOUTS, rollouts_path(fleet)), fleet)


def current_halts(workspace: Workspace) -> Halts:
    """The newest halts, published or not."""
    fleet = workspace.settings().name
    return parse_halts(_document(workspace, RoleName.HALTS, halts_path(fleet)), fleet)


def published_rollouts(workspace: Workspace) -> Rollouts | None:
    """The rollouts that devices can fetch now; None before the first publication."""
    fleet = workspace.settings().name
    published = Published(workspace.public)
    content = published.current(RoleName.ROLLOUTS)
    if content is None:
        return None
    signed = decode(content, Targets, "rollouts.json").signed
    target = signed.targets.get(rollouts_path(fleet))
    document = None if target is None else published.document(target)
    if document is None:
        raise TrustError(f"{published.folder}: {rollouts_path(fleet)} is missing; publish again")
    return parse_rollouts(document, fleet)


def _document(workspace: Workspace, role: RoleName, path: str) -> bytes:
    stage = Stage(workspace)
    target: TargetFile | None = stage.targets(role).signed.targets.get(path)
    if target is None:
        raise ConfigError(f"{stage.path(role)}: lists no {path}; is fleet.toml of this fleet?")
    return stage.document(target)


def start(
    workspace: Workspace, keys: KeyFolders, request: RolloutRequest, now: datetime
) -> SigningStatus:
    """Stage a new rollout of a release of the stage. Raises `ConfigError`."""
    rollout = make_rollout_of(find_release(workspace, request.release), request, now)
    return _edit_rollouts(workspace, keys, now, lambda rollouts: started(rollouts, rollout))


def change(
    workspace: Workspace, keys: KeyFolders, rollout_id: str, verb: Verb, now: datetime
) -> SigningStatus:
    """Stage a pause, resume, finish or reissue. Raises `ConfigError`.

    A reissue is a new attempt everywhere: devices that reverted try again, and a halt of the issue
    before it no longer counts.
    """
    return _edit_rollouts(workspace, keys, now, lambda known: changed(known, rollout_id, verb))


def halt(
    workspace: Workspace,
    keys: KeyFolders,
    rollout_id: str,
    reason: str,
    now: datetime,
    *,
    reissue: int | None = None,
) -> SigningStatus:
    """Stage a halt of one issue of a rollout; only `halts` changes. Raises `ConfigError`.

    Without `reissue` it is the published issue, which devices have, even when a later one is staged.
    """
    with files.locked(workspace.root):
        rollout = _halting(workspace, rollout_id, reissue)
        before = current_halts(workspace)
        after = halted(before, rollout, reason, now)
        stage = Stage(workspace)
        if after == before and stage.status(RoleName.HALTS).complete:
            return stage.status(RoleName.HALTS)
        document = halts_path(after.fleet), encode_halts(after)
        return _put(stage, RoleName.HALTS, document, keys, now)


def _halting(workspace: Workspace, rollout_id: str, reissue: int | None) -> Rollout:
    """The issue of a rollout that is to be halted."""
    staged, published = current_rollouts(workspace), published_rollouts(workspace)
    in_force = published is not None and rollout_id in {row.id for row in published.rollouts}
    rollout = find(published if published is not None and in_force else staged, rollout_id)
    return rollout if reissue is None else replace(rollout, reissue=reissue)


def _edit_rollouts(
    workspace: Workspace,
    keys: KeyFolders,
    now: datetime,
    edit: Callable[[Rollouts], Rollouts],
) -> SigningStatus:
    with files.locked(workspace.root):
        after = edit(current_rollouts(workspace))
        document = rollouts_path(after.fleet), encode_rollouts(after)
        return _put(Stage(workspace), RoleName.ROLLOUTS, document, keys, now)


def _put(
    stage: Stage, role: RoleName, document: tuple[str, bytes], keys: KeyFolders, now: datetime
) -> SigningStatus:
    keys.signers(role)  # a key that cannot be read is found before anything is changed
    target = stage.put_document(*document)

    def list_it(signed: Targets) -> None:
        signed.targets[target.path] = target

    return restage(stage, role, keys, now, list_it)
