"""Payloads with lies in them end with the image or in a sentence, whatever the lie; `make fuzz` has more."""

import pytest

from tests.payload.fuzz import MEMORY_MIB_MAX, case, measured_case
from tests.payload.hostile import LIES, Offer, make_offer, take

SEEDS = 25


@pytest.fixture(scope="module")
def offer(tmp_path_factory: pytest.TempPathFactory) -> Offer:
    return make_offer(tmp_path_factory.mktemp("offer"))


def test_an_honest_offer_is_taken(offer: Offer) -> None:
    outcome = take(offer, harmless=True)
    assert (outcome.error, outcome.findings) == (None, [])


def test_a_mirror_with_a_part_of_a_delta_serves_the_full_payload(offer: Offer) -> None:
    for length in (1, 20, offer.delta.payload.index_bytes - 1, len(offer.delta.content) - 1):
        cut = offer.lying(offer.delta, served=offer.delta.content[:length])
        outcome = take(cut, harmless=True)
        assert (outcome.error, outcome.findings) == (None, [])


@pytest.mark.parametrize("name", LIES)
def test_a_lie_never_becomes_a_slot_that_starts_with_anything_but_the_image(
    offer: Offer, name: str
) -> None:
    outcomes = [case(offer, name, seed) for seed in range(SEEDS)]
    assert [finding for outcome in outcomes for finding in outcome.findings] == []


@pytest.mark.parametrize("name", ["signed index", "odd number", "odd manifest", "other bytes"])
def test_lies_of_this_kind_are_refused_before_the_first_write(offer: Offer, name: str) -> None:
    outcomes = [case(offer, name, seed) for seed in range(SEEDS)]
    assert any(outcome.error and not outcome.written for outcome in outcomes)


def test_bombs_take_no_memory(offer: Offer) -> None:
    case(offer, "bomb", 0)
    assert max(measured_case(offer, "bomb", seed)[1] for seed in range(SEEDS)) <= MEMORY_MIB_MAX
