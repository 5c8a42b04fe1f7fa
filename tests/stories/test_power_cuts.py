from random import Random

import pytest

from agent.board import BoardProfile
from agent.report import Outcome
from simulator.image import Behaviour
from simulator.lab import EXPECTED, Lab, make_lab
from simulator.power import Moment
from simulator.trace import Line

SEED = 11
LARGE_SECTORS = 6 * 2048  # 6 MiB
WINDOW_BYTES = 256 * 1024
LOST_BYTES_MAX = 1024 * 1024 + WINDOW_BYTES


def new_lab(profile: BoardProfile) -> Lab:
    """Small images whose windows are sectors."""
    return make_lab(profile, seed=SEED, sectors=12, window_bytes=512)


def uncut(profile: BoardProfile, behaviour: Behaviour) -> Lab:
    lab = new_lab(profile)
    lab.ship(behaviour)
    lab.device.run_until_quiet()
    return lab


def check(lab: Lab, behaviour: Behaviour, before: dict[str, bytes]) -> None:
    """Ended as it should, said so once, and the slot that ran was never written."""
    assert lab.operator.outcomes() == [EXPECTED[behaviour]], lab.device.trace.text()
    assert lab.device.slot == ("b" if behaviour is Behaviour.HEALTHY else "a")
    assert lab.device.board.content("a") == before
    if behaviour is Behaviour.HEALTHY:
        assert lab.holds("b", 2)


@pytest.mark.parametrize("moment", Moment)
def test_a_power_cut_at_every_operation_of_an_update_changes_nothing_in_its_end(
    profile: BoardProfile, moment: Moment
) -> None:
    operations = uncut(profile, Behaviour.HEALTHY).device.board.power.number
    assert operations > 20
    for number in range(1, operations + 1):
        lab = new_lab(profile)
        before = lab.device.board.content("a")
        lab.ship()
        lab.device.board.power.cut_at(number, moment)
        lab.device.run_until_quiet()
        assert lab.device.board.power.cuts == 1
        check(lab, Behaviour.HEALTHY, before)


@pytest.mark.parametrize(
    "behaviour", [Behaviour.FAILS_CHECKS, Behaviour.HANGS, Behaviour.NEVER_BOOTS]
)
def test_a_power_cut_at_every_operation_of_a_bad_release_still_reverts_it(
    profile: BoardProfile, behaviour: Behaviour
) -> None:
    operations = uncut(profile, behaviour).device.board.power.number
    for number in range(1, operations + 1):
        lab = new_lab(profile)
        before = lab.device.board.content("a")
        lab.ship(behaviour)
        lab.device.board.power.cut_at(number, list(Moment)[number % len(Moment)])
        lab.device.run_until_quiet()
        check(lab, behaviour, before)


@pytest.mark.parametrize("seed", range(25))
def test_two_power_cuts_anywhere_lose_nothing(profile: BoardProfile, seed: int) -> None:
    chance = Random(seed)
    lab = new_lab(profile)
    before = lab.device.board.content("a")
    power = lab.device.board.power
    power.cut_at(chance.randint(1, 40), chance.choice(list(Moment)))

    def cut_the_recovery(line: Line) -> None:
        if line.event == "! power cut" and power.cuts == 1:
            power.cut_at(power.number + chance.randint(1, 20), chance.choice(list(Moment)))

    lab.device.trace.sink = cut_the_recovery
    lab.ship()
    lab.device.run_until_quiet()
    check(lab, Behaviour.HEALTHY, before)


@pytest.mark.parametrize("seed", range(2))
def test_a_cut_never_leaves_a_slot_that_would_start_and_is_not_whole(
    profile: BoardProfile, seed: int
) -> None:
    lab = make_lab(profile, seed=seed)
    lab.ship()
    lab.device.run_until_quiet()
    for number in range(1, lab.device.board.power.number + 1):
        lab = make_lab(profile, seed=seed)  # its windows have several sectors, which a cut may part
        assert lab.device.board.may_lose_boot_state
        lab.ship()
        lab.device.board.power.cut_at(number, Moment.BEFORE)
        lab.device.run_until_quiet()
        assert lab.operator.outcomes() == [Outcome.CONFIRMED]


@pytest.mark.parametrize("occurrence", [3, 12, 20])
def test_a_cut_in_the_middle_of_writing_resumes_and_fetches_little_again(
    profile: BoardProfile, occurrence: int
) -> None:
    lab = make_lab(
        profile,
        seed=SEED,
        sectors=LARGE_SECTORS,
        part_bytes=LARGE_SECTORS * 512,
        window_bytes=WINDOW_BYTES,
    )
    lab.ship()
    lab.device.board.power.cut_at_name("BlockDevice.write", occurrence, Moment.TORN)
    lab.device.run_until_quiet()
    assert lab.device.board.power.cuts == 1
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]
    release = lab.operator.releases["2"]
    payloads = [image.payloads[0] for image in release.images]
    once = sum(payload.length_bytes for payload in payloads)
    indexes = sum(payload.index_bytes for payload in payloads)
    again = lab.repository.sent_bytes("blobs/*") - once
    assert again <= indexes + LOST_BYTES_MAX * len(payloads)


def test_a_cut_in_the_trial_tries_again_without_fetching_again(profile: BoardProfile) -> None:
    fetched = uncut(profile, Behaviour.HEALTHY).repository.sent_bytes("blobs/*")
    lab = new_lab(profile)

    def cut_the_trial(line: Line) -> None:
        if line.event == "trial" and lab.device.board.power.cuts == 0:
            lab.device.board.power.cut_at(lab.device.board.power.number + 1, Moment.BEFORE)

    lab.device.trace.sink = cut_the_trial
    lab.ship()
    lab.device.run_until_quiet()
    (report,) = lab.operator.reports.values()
    assert report.outcome is Outcome.CONFIRMED
    assert report.attempts == 2
    assert lab.device.board.power.cuts == 1
    assert lab.repository.sent_bytes("blobs/*") == fetched


def test_trials_that_always_lose_power_end_after_the_attempts_of_the_profile(
    profile: BoardProfile,
) -> None:
    lab = new_lab(profile)
    power = lab.device.board.power

    def cut_every_trial(line: Line) -> None:
        if line.event == "trial":
            power.cut_at(power.number + 1, Moment.BEFORE)

    lab.device.trace.sink = cut_every_trial
    lab.ship()
    lab.device.run_until_quiet()
    (report,) = lab.operator.reports.values()
    assert report.outcome is Outcome.REVERTED
    assert report.code == "trial-lost"
    assert report.attempts == profile.confirm.attempts_max
    assert lab.holds("a", 1)
