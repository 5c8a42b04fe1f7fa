"""Rules that only a story shows: rot, halts, rows of cuts, and microcontrollers."""

from typing import Final

import pytest

from agent.pieces import PIECES, Pieces
from tests.seeded_bugs import stories
from tests.seeded_bugs.chips import (
    BelievesOk,
    ConfirmsBeforeTheChips,
    KeepsNoOldImage,
    LeavesTheNewImage,
    WritesVectorsFirst,
    with_chips,
)
from tests.seeded_bugs.memories import BelievesItsJournal, CountsBeforeItWithdraws, IgnoresHalts

BUGS: Final[dict[str, tuple[stories.Story, Pieces, str]]] = {
    "believes a rotten journal": (
        stories.a_bit_of_the_journal_rots_in_the_trial,
        Pieces(device=BelievesItsJournal),
        "reported_is_what_runs",
    ),
    "ignores halts": (
        stories.a_rollout_is_halted_before_it_is_noticed,
        Pieces(device=IgnoresHalts),
        "halted_does_not_switch",
    ),
    "loses a verdict to six cuts": (
        stories.the_power_fails_after_each_record_of_an_unhealthy_trial,
        Pieces(runner=CountsBeforeItWithdraws),
        "one_result_is_stored",
    ),
    "writes the vectors first": (
        stories.the_power_fails_while_a_chip_is_written,
        with_chips(WritesVectorsFirst),
        "chip_runs_or_can_be_flashed",
    ),
    "believes a polite OK": (
        stories.a_chip_says_that_it_wrote_and_did_not,
        with_chips(BelievesOk),
        "chip_belongs_to_what_runs",
    ),
    "confirms before the chips": (
        stories.a_chip_is_unplugged_in_the_trial,
        Pieces(runner=ConfirmsBeforeTheChips),
        "ends_as_it_must",
    ),
    "keeps no old image": (
        stories.a_release_with_a_chip_s_image_fails_its_checks,
        with_chips(KeepsNoOldImage),
        "both_ways_are_kept",
    ),
    "leaves the new image": (
        stories.a_release_with_a_chip_s_image_fails_its_checks,
        with_chips(LeavesTheNewImage),
        "chip_belongs_to_what_runs",
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_an_agent_without_this_rule_is_noticed(bug: str) -> None:
    story, pieces, invariant = BUGS[bug]
    assert invariant in story(pieces)


@pytest.mark.parametrize(
    "story", dict.fromkeys(story for story, _, _ in BUGS.values()), ids=lambda one: one.__name__
)
def test_the_agent_with_all_its_rules_breaks_nothing_in_the_same_story(
    story: stories.Story,
) -> None:
    assert story(PIECES) == set()
