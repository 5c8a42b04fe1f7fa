"""The audit runs merged states again, and finds out names that say too little."""

from collections.abc import Mapping

from agent import journal as journals
from simulator.explore.audit import Rest
from simulator.explore.scenario import GATEWAY_SCALE, Scenario, make_stage
from simulator.explore.search import Search
from simulator.explore.state import Fingerprints
from simulator.power import Operation
from simulator.profiles import load_profile


class BlindToTheJournal(Fingerprints):
    """Names states without looking at what the device remembers."""

    def files(self, files: Mapping[str, bytes]) -> int:
        rest = {name: content for name, content in files.items() if name != journals.FILE}
        return super().files(rest)


def search(prints: Fingerprints | None = None) -> Search:
    stage = make_stage(load_profile("rpi4-tryboot"), Scenario.HEALTHY, scale=GATEWAY_SCALE)
    return Search(stage, audit=20, prints=prints)


def test_states_of_one_name_behave_alike_whatever_their_bytes_are() -> None:
    result = search().run()
    assert result.good
    assert result.audited == 20 < result.other_bytes < result.merged


def test_a_name_that_says_too_little_is_found_out() -> None:
    result = search(BlindToTheJournal()).run()
    assert result.different > 0
    assert "same_name_means_same_behaviour" in {one.violation.invariant for one in result.broken}


def test_two_rests_of_a_boot_have_one_name_when_all_that_follows_is_the_same() -> None:
    operations = [Operation(number, "Files.replace", f"{number}") for number in (1, 2, 3)]

    def names(*left: int) -> list[int]:
        rest = Rest(operations)
        for one in left:
            rest.add({one: None})
        return rest.names()

    one, two = names(10, 20, 30, 40), names(11, 20, 30, 40)
    assert one[0] != two[0]
    assert one[1:] == two[1:]
    assert names(10, 20, 30, 41)[-2] != one[-2]


def test_the_name_of_a_rest_keeps_what_all_states_in_it_have_in_common() -> None:
    def name(base: int) -> int:
        rest = Rest([])
        rest.add({base ^ 1: None, base ^ 2: None})
        return rest.names()[0]

    assert name(100) != name(200)
