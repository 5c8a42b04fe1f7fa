"""What must hold in every durable state and in every run from one: one function for each promise.

Each function is given what it judges, and answers None when its promise holds, else a sentence that says
what was expected and what was found. Its name is the invariant's name, in tables and in tests.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.board import SlotName
from agent.firmware import ChipRecord
from agent.floor import Floor
from agent.install import FLUSH_BYTES
from agent.journal import Journal
from agent.release import Hosts
from agent.report import Outcome
from agent.update import State, Update

TRIAL_STATES: Final = frozenset((State.SWITCHED, State.TRIAL, State.UNHEALTHY))
"""The states of an update whose slot may be started."""
WRITABLE_STATES: Final = frozenset((State.ACCEPTED, State.PLANNED))
"""The states of an update whose slot may be written."""
FILES_MAX: Final = 16
FILE_NAMES: Final = frozenset(("journal.json", "chips.json", "floor.json", "floor.spare.json"))
FILE_FOLDERS: Final = ("metadata/", "root_history/", "chips/")
FILES_BYTES_MAX: Final = 256 * 1024
BOOTS_BEFORE_TRIALS: Final = 1
BOOTS_OF_A_TRIAL: Final = 2
"""The trial, and the way back from it."""
WRITES_OF_AN_UPDATE: Final = 18
"""Small files that one update replaces when nothing is lost, metadata included."""
WRITES_OF_A_TRIAL: Final = 2
WRITES_FOR_A_CHIP: Final = 3
"""Its new image, the one with which it came, and that this is known."""
WRITES_FOR_A_CHIP_IN_A_TRIAL: Final = 4
"""What is begun and what has ended, on the way there and on the way back."""

Finding = str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """How one update ended, as the fleet has stored it."""

    report: str
    update: str
    outcome: str
    code: str


def bootable(started: SlotName | None, release: str | None) -> Finding:
    """The bootloader finds a slot that starts, and it holds a whole signed image, without the agent."""
    if started is None:
        return "a slot that starts was expected, the board stays dark"
    if release is None:
        return (
            f"a whole signed image was expected in slot {started}, which starts; other bytes found"
        )
    return None


def nothing_unverified_armed(started: SlotName, update: Update | None) -> Finding:
    """No slot is started for an update before the record says that it was installed and is tried."""
    if update is None or update.finished or update.target != started:
        return None
    if update.state in TRIAL_STATES:
        return None
    return f"an update in trial was expected in slot {started}, which starts; it is {update.state}"


def installed_means_read_back(update: Update, unread_bytes: int, unflushed: int) -> Finding:
    """An image counts as installed when all of it was read from the medium after the last write."""
    if unflushed:
        return f"slot {update.target} was flushed before it counts, {unflushed} writes are not"
    if unread_bytes:
        return f"slot {update.target} was read back before it counts, {unread_bytes} bytes were not"
    return None


def running_slot_never_written(running: SlotName | None, written: SlotName) -> Finding:
    """The slot that runs is not written, whatever is believed of it."""
    if running == written:
        return f"writes to the standby slot only were expected, slot {written} runs"
    return None


def written_only_while_installing(update: Update | None, written: SlotName) -> Finding:
    """A slot is written only for an update that is not installed yet: nothing is installed twice."""
    if update is not None and update.state in WRITABLE_STATES and update.target == written:
        return None
    told = "no update" if update is None else f"{update.id}, which is {update.state}"
    return f"an update that is being installed into slot {written} was expected, found {told}"


def ended_is_not_begun_again(before: Journal, after: Journal) -> Finding:
    """An issue of a rollout that has ended here is not begun once more."""
    update, known = after.update, before.update
    if update is None or update.finished:
        return None
    if known is not None and known.id == update.id and not known.finished:
        return None
    if after.tried(update.rollout, update.reissue):
        return f"{update.rollout} issue {update.reissue} has ended on this device, it begins again"
    return None


def trials_are_bounded(update: Update | None, trials: int, attempts_max: int) -> Finding:
    """Every trial is counted before it starts, and there are no more of them than the profile says."""
    if update is not None and update.state in TRIAL_STATES and update.attempts < 1:
        return "a counted attempt was expected before the trial, none is recorded"
    if trials > attempts_max:
        return f"at most {attempts_max} trials were expected while the power was on, {trials} found"
    return None


def ends_as_it_must(
    expected: Outcome,
    ended: Iterable[Ended],
    *,
    trial_cuts: int,
    attempts_max: int,
    chip_cuts: int = 0,
) -> Finding:
    """Unhealthy goes back; healthy is confirmed unless as many cuts as attempts fell into its trials.

    A chip that loses its power while its host lives on may take one trial with it.
    """
    for one in ended:
        if one.outcome == expected:
            continue
        reverted = one.outcome == Outcome.REVERTED
        if reverted and one.code == "trial-lost" and trial_cuts >= attempts_max:
            continue
        if reverted and one.code.startswith("flash-") and chip_cuts:
            continue
        return (
            f"{expected} was expected after {trial_cuts} cuts in trials, {one.outcome} "
            f"({one.code}) was reported"
        )
    return None


def reported_is_what_runs(ended: Iterable[Ended], running: str | None, new: str) -> Finding:
    """Confirmed means that the new release runs by itself, everything else that the old one does."""
    for one in ended:
        if (one.outcome == Outcome.CONFIRMED) != (running == new):
            return f"{one.outcome} was reported for release {new}, and {running} runs"
    return None


def floors_only_rise(before: Floor, after: Floor | None) -> Finding:
    """Trusted versions, the release counter and the known date never go down."""
    if after is None:
        return "a floor that can be read was expected, it is gone"
    if after.counter < before.counter:
        return f"release counter {before.counter} or higher was expected, {after.counter} found"
    if after.time < before.time:
        return f"a date from {before.time} on was expected, {after.time} found"
    for role, known in before.roles.items():
        found = after.roles.get(role)
        if found is None or (found.keys == known.keys and found.version < known.version):
            return f"{role}: version {known.version} or higher was expected, found {found}"
    return None


def trusted_is_on_the_floor(versions: Mapping[str, int], floor: Floor) -> Finding:
    """Metadata is kept for the next time only after the floor says that nothing older counts."""
    for role, version in versions.items():
        known = floor.roles.get(role)
        if known is None or known.version < version:
            return f"{role}: a floor of {version} was expected before it is kept, found {known}"
    return None


def confirmed_is_on_the_floor(journal: Journal, floor: Floor) -> Finding:
    """A release counts as confirmed only after nothing older may follow it."""
    update = journal.update
    if update is None or update.state is not State.CONFIRMED or floor.counter >= update.counter:
        return None
    return f"a floor of {update.counter} was expected with the confirmation, {floor.counter} found"


def little_is_lost(unflushed_bytes: int, flush_bytes: int = FLUSH_BYTES) -> Finding:
    """A power cut loses no more than what is fetched between two flushes."""
    if unflushed_bytes <= flush_bytes:
        return None
    return (
        f"at most {flush_bytes} fetched bytes were expected to be un-flushed, {unflushed_bytes} are"
    )


def only_the_missing_is_fetched(fetched_bytes: int, missing_bytes: int) -> Finding:
    """Nothing is fetched that the slot already holds but the index and the first window of a part."""
    if fetched_bytes <= missing_bytes:
        return None
    return (
        f"at most {missing_bytes} missing bytes were expected to be fetched, {fetched_bytes} were"
    )


def comes_to_rest(boots: int, attempts_max: int) -> Finding:
    """From every durable state the device comes to rest within the boots that its trials need."""
    bound = BOOTS_BEFORE_TRIALS + BOOTS_OF_A_TRIAL * attempts_max
    if boots <= bound:
        return None
    return f"rest within {bound} boots was expected, it took {boots}"


def one_result_is_stored(
    stored: Collection[Ended], heard: Iterable[Ended], updates: int
) -> Finding:
    """The fleet has one result for each update that ended, by one id, and never hears another."""
    if len({one.update for one in stored}) != len(stored):
        return f"one report for each update was expected, {len(stored)} are stored"
    if len(stored) != updates:
        return f"the results of {updates} updates were expected at rest, {len(stored)} are stored"
    for one in heard:
        if one not in stored:
            return f"the result that is stored was expected to be said again, {one} was said"
    return None


def residue_is_bounded(files: Mapping[str, bytes]) -> Finding:
    """Nothing but the journal, the floor and the metadata is left, and not much of it."""
    strange = [
        name for name in files if name not in FILE_NAMES and not name.startswith(FILE_FOLDERS)
    ]
    if strange:
        return f"only known files were expected, {', '.join(sorted(strange))} found"
    total = sum(map(len, files.values()))
    if len(files) > FILES_MAX or total > FILES_BYTES_MAX:
        return f"at most {FILES_MAX} files of {FILES_BYTES_MAX} bytes were expected, {total} found"
    return None


def replaced_whole_or_not_at_all(
    possible: Collection[bytes | None], old: bytes | None, new: bytes
) -> Finding:
    """A cut inside a replacement leaves the old content or the new one."""
    strange = [content for content in possible if content not in (old, new)]
    if strange:
        return f"{old!r} or {new!r} was expected after a cut, {strange[0]!r} may be found"
    return None


def acknowledged_is_durable(possible: Collection[bytes | None], content: bytes | None) -> Finding:
    """What a call has returned from is there after a cut."""
    other = [found for found in possible if found != content]
    if other:
        return f"{content!r} was expected after the call returned, {other[0]!r} may be found"
    return None


def state_writes_are_bounded(replaced: int, attempts_max: int, chips: int = 0) -> Finding:
    """One update costs the medium of the small files no more than this many replacements."""
    bound = WRITES_OF_AN_UPDATE + WRITES_FOR_A_CHIP * chips
    bound += (WRITES_OF_A_TRIAL + WRITES_FOR_A_CHIP_IN_A_TRIAL * chips) * attempts_max
    if replaced <= bound:
        return None
    return f"at most {bound} replaced files were expected for an update, {replaced} found"


def chip_runs_or_can_be_flashed(
    chip: str, release: str | None, *, starts: bool, can_be_flashed: bool
) -> Finding:
    """A chip runs a whole image, or starts none and has a bootloader that wires lead into.

    `starts` means that the part of an image is whole which is written last, because it starts the rest.
    """
    if release is not None:
        return None
    if starts:
        return f"chip {chip}: a whole image was expected behind what starts it, a part of one found"
    if not can_be_flashed:
        return f"chip {chip}: an image that runs or a way in by wires was expected, neither found"
    return None


def written_on_the_record(chip: str, record: ChipRecord) -> Finding:
    """A chip's flash changes only after it is durable what it is about to hold."""
    if record.writing is not None:
        return None
    return (
        f"chip {chip}: a record of what is begun was expected before its flash changes, none found"
    )


def both_ways_are_kept(chip: str, *, back: bool, forward: bool) -> Finding:
    """A chip's flash changes only while the image from before and the new one are kept or known to return."""
    missing = [
        told for told, kept in (("from before", back), ("of the release", forward)) if not kept
    ]
    if not missing:
        return None
    return (
        f"chip {chip}: the image {' and the one '.join(missing)} was expected to be kept, it is not"
    )


def pair_is_allowed(chip: str, hosts: Hosts | None, counter: int) -> Finding:
    """A system never meets a chip's image that was not signed as working with it; None is not said."""
    if hosts is None or hosts.allow(counter):
        return None
    return (
        f"chip {chip}: an image that works with release counter {counter} was expected beside it, one "
        f"for {hosts.counter_min} to {hosts.counter_max} found"
    )


def chip_belongs_to_what_runs(chip: str, expected: str, release: str | None) -> Finding:
    """At rest a chip runs the image that belongs beside the system: one that reverted takes it along."""
    if release == expected:
        return None
    return f"chip {chip}: the image of release {expected} was expected at rest, {release} runs"
