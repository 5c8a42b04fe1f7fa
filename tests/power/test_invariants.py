"""Each invariant holds where it should, and says so where it does not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from agent.board import SlotName
from agent.firmware import AS_IT_CAME, ChipRecord, Firmware
from agent.floor import Floor, RoleFloor
from agent.journal import Journal, Tried
from agent.release import Hosts
from agent.report import Outcome
from agent.update import State, Update
from simulator import invariants
from simulator.invariants import Ended

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ATTEMPTS_MAX = 3
ACTIVE: SlotName = "a"
STANDBY: SlotName = "b"


def update(state: State, attempts: int = 1) -> Update:
    return Update("r/0/2", "r", 0, "2", 2, state, STANDBY, attempts=attempts)


def ended(outcome: Outcome, code: str = "ok", report: str = "1") -> Ended:
    return Ended(report, "r/0/2", outcome.value, code)


def tried() -> Tried:
    return Tried("r", 0, "2", 2, State.REVERTED, "unhealthy", "", NOW)


def test_bootable() -> None:
    assert invariants.bootable(ACTIVE, "1") is None
    assert invariants.bootable(None, None)
    assert invariants.bootable(ACTIVE, None)


def test_nothing_unverified_armed() -> None:
    holds = invariants.nothing_unverified_armed
    assert holds(STANDBY, update(State.TRIAL)) is None
    assert holds(ACTIVE, update(State.PLANNED)) is None
    assert holds(STANDBY, update(State.PLANNED))
    assert holds(STANDBY, update(State.INSTALLED))


def test_installed_means_read_back() -> None:
    holds = invariants.installed_means_read_back
    assert holds(update(State.INSTALLED), 0, 0) is None
    assert holds(update(State.INSTALLED), 512, 0)
    assert holds(update(State.INSTALLED), 0, 1)


def test_running_slot_never_written() -> None:
    assert invariants.running_slot_never_written(ACTIVE, STANDBY) is None
    assert invariants.running_slot_never_written(ACTIVE, ACTIVE)


def test_written_only_while_installing() -> None:
    holds = invariants.written_only_while_installing
    assert holds(update(State.PLANNED), STANDBY) is None
    assert holds(None, STANDBY)
    assert holds(update(State.INSTALLED), STANDBY)
    assert holds(update(State.PLANNED), ACTIVE)


def test_ended_is_not_begun_again() -> None:
    holds = invariants.ended_is_not_begun_again
    begun = Journal(update=update(State.ACCEPTED))
    assert holds(Journal(), begun) is None
    assert holds(Journal(), replace(begun, history=(tried(),)))
    over = Journal(update=update(State.REVERTED), history=(tried(),))
    assert holds(over, replace(begun, history=(tried(),)))


def test_trials_are_bounded() -> None:
    holds = invariants.trials_are_bounded
    assert holds(update(State.SWITCHED), 3, ATTEMPTS_MAX) is None
    assert holds(update(State.SWITCHED), 4, ATTEMPTS_MAX)
    assert holds(update(State.SWITCHED, attempts=0), 1, ATTEMPTS_MAX)


def test_ends_as_it_must() -> None:
    lost = ended(Outcome.REVERTED, "trial-lost")

    def holds(one: Ended, expected: Outcome, cuts: int) -> bool:
        finding = invariants.ends_as_it_must(
            expected, [one], trial_cuts=cuts, attempts_max=ATTEMPTS_MAX
        )
        return finding is None

    assert holds(ended(Outcome.CONFIRMED), Outcome.CONFIRMED, 0)
    assert holds(lost, Outcome.CONFIRMED, 3)
    assert not holds(lost, Outcome.CONFIRMED, 2)
    assert not holds(ended(Outcome.REVERTED, "unhealthy"), Outcome.CONFIRMED, 3)
    assert not holds(ended(Outcome.CONFIRMED), Outcome.REVERTED, 3)
    assert not holds(ended(Outcome.FAILED, "install"), Outcome.REVERTED, 0)


def test_a_chip_that_lost_its_power_alone_may_take_its_trial_with_it() -> None:
    holds = invariants.ends_as_it_must
    gone = [ended(Outcome.REVERTED, "flash-line")]
    expected = Outcome.CONFIRMED
    assert holds(expected, gone, trial_cuts=0, attempts_max=ATTEMPTS_MAX, chip_cuts=1) is None
    assert holds(expected, gone, trial_cuts=3, attempts_max=ATTEMPTS_MAX, chip_cuts=0)
    mixed = [ended(Outcome.FAILED, "flash-mixed")]
    assert holds(expected, mixed, trial_cuts=0, attempts_max=ATTEMPTS_MAX, chip_cuts=1)


def test_reported_is_what_runs() -> None:
    holds = invariants.reported_is_what_runs
    assert holds([ended(Outcome.CONFIRMED)], "2", "2") is None
    assert holds([ended(Outcome.REVERTED)], "1", "2") is None
    assert holds([ended(Outcome.CONFIRMED)], "1", "2")
    assert holds([ended(Outcome.REVERTED)], "2", "2")


def test_floors_only_rise() -> None:
    holds = invariants.floors_only_rise
    known = Floor({"root": RoleFloor(("k",), 2)}, 2, NOW)
    assert holds(known, replace(known, counter=3)) is None
    assert holds(known, None)
    assert holds(known, replace(known, counter=1))
    assert holds(known, replace(known, time=NOW - timedelta(days=1)))
    assert holds(known, replace(known, roles={"root": RoleFloor(("k",), 1)}))
    assert holds(known, replace(known, roles={}))


def test_trusted_is_on_the_floor() -> None:
    floor = Floor({"snapshot": RoleFloor(("k",), 2)})
    assert invariants.trusted_is_on_the_floor({"snapshot": 2}, floor) is None
    assert invariants.trusted_is_on_the_floor({"snapshot": 3}, floor)
    assert invariants.trusted_is_on_the_floor({"timestamp": 1}, floor)


def test_confirmed_is_on_the_floor() -> None:
    journal = Journal(update=update(State.CONFIRMED))
    assert invariants.confirmed_is_on_the_floor(journal, Floor(counter=2)) is None
    assert invariants.confirmed_is_on_the_floor(journal, Floor(counter=1))


def test_little_is_lost() -> None:
    assert invariants.little_is_lost(1000, 1000) is None
    assert invariants.little_is_lost(1001, 1000)


def test_only_the_missing_is_fetched() -> None:
    assert invariants.only_the_missing_is_fetched(10, 10) is None
    assert invariants.only_the_missing_is_fetched(11, 10)


def test_comes_to_rest() -> None:
    assert invariants.comes_to_rest(7, ATTEMPTS_MAX) is None
    assert invariants.comes_to_rest(8, ATTEMPTS_MAX)


def test_one_result_is_stored() -> None:
    holds = invariants.one_result_is_stored
    good, other = ended(Outcome.CONFIRMED), ended(Outcome.REVERTED)
    assert holds([good], [good, good], 1) is None
    assert holds([], [], 1)
    assert holds([good], [other], 1)
    assert holds([good, ended(Outcome.CONFIRMED, report="2")], [], 2)


def test_residue_is_bounded() -> None:
    holds = invariants.residue_is_bounded
    assert holds({"journal.json": b"", "metadata/root.json": b""}) is None
    assert holds({"journal.json.new": b""})
    assert holds({"journal.json": bytes(invariants.FILES_BYTES_MAX + 1)})


def test_state_writes_are_bounded() -> None:
    assert invariants.state_writes_are_bounded(24, ATTEMPTS_MAX) is None
    assert invariants.state_writes_are_bounded(25, ATTEMPTS_MAX)


def test_state_writes_for_chips_are_bounded_too() -> None:
    bound = 24 + invariants.WRITES_FOR_A_CHIP
    bound += ATTEMPTS_MAX * invariants.WRITES_FOR_A_CHIP_IN_A_TRIAL
    assert invariants.state_writes_are_bounded(bound, ATTEMPTS_MAX, chips=1) is None
    assert invariants.state_writes_are_bounded(bound + 1, ATTEMPTS_MAX, chips=1)


def test_chip_runs_or_can_be_flashed() -> None:
    holds = invariants.chip_runs_or_can_be_flashed
    assert holds("motor", "2", starts=True, can_be_flashed=False) is None
    assert holds("motor", None, starts=False, can_be_flashed=True) is None
    assert holds("motor", None, starts=True, can_be_flashed=True)
    assert holds("motor", None, starts=False, can_be_flashed=False)


def test_written_on_the_record() -> None:
    new = Firmware("ab" * 32, Hosts(1, 2))
    assert invariants.written_on_the_record("motor", ChipRecord(None, new)) is None
    assert invariants.written_on_the_record("motor", ChipRecord(new))
    assert invariants.written_on_the_record("motor", AS_IT_CAME)


def test_both_ways_are_kept() -> None:
    holds = invariants.both_ways_are_kept
    assert holds("motor", back=True, forward=True) is None
    assert holds("motor", back=False, forward=True)
    assert holds("motor", back=True, forward=False)


def test_pair_is_allowed() -> None:
    assert invariants.pair_is_allowed("motor", None, 1) is None
    assert invariants.pair_is_allowed("motor", Hosts(1, 2), 1) is None
    assert invariants.pair_is_allowed("motor", Hosts(2, 2), 1)


def test_chip_belongs_to_what_runs() -> None:
    assert invariants.chip_belongs_to_what_runs("motor", "2", "2") is None
    assert invariants.chip_belongs_to_what_runs("motor", "0", "2")
    assert invariants.chip_belongs_to_what_runs("motor", "0", None)
