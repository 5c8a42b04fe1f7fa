"""The simulated power fails exactly where it is told to, and nothing happens after that."""

import pytest

from simulator.power import Moment, Operation, Power, PowerCut, ZombieWriteError


class Counter:
    """A part whose durable effect has two halves."""

    def __init__(self, power: Power) -> None:
        self.power = power
        self.halves = 0

    def step(self, name: str = "step") -> None:
        with self.power.operation(name, "of the counter") as effect:
            self.halves += 1 if effect.torn else 2


@pytest.mark.parametrize(
    ("moment", "halves"), [(Moment.BEFORE, 2), (Moment.TORN, 3), (Moment.AFTER, 4)]
)
@pytest.mark.parametrize("by_name", [False, True])
def test_fails_at_the_operation_that_was_named(
    moment: Moment, halves: int, *, by_name: bool
) -> None:
    power = Power()
    counter = Counter(power)
    if by_name:
        power.cut_at_name("step", 2, moment)
    else:
        power.cut_at(3, moment)
    counter.step("other")
    counter.halves = 0
    counter.step()
    with pytest.raises(PowerCut, match="of the counter"):
        counter.step()
    assert counter.halves == halves


def test_no_handler_of_exceptions_sees_the_cut() -> None:
    assert not issubclass(PowerCut, Exception)


def test_nothing_has_an_effect_after_the_cut_until_the_power_is_back() -> None:
    power = Power()
    counter = Counter(power)
    power.cut_at(1, Moment.BEFORE)
    with pytest.raises(PowerCut):
        counter.step()
    with pytest.raises(ZombieWriteError, match="after the power was gone"):
        counter.step()
    power.restore()
    counter.step()
    assert counter.halves == 2
    assert power.cuts == 1


def test_a_seam_that_only_announces_is_cut_at_its_next_operation() -> None:
    power = Power()
    power.cut_at(1, Moment.AFTER)
    power.operation("announced")
    with pytest.raises(PowerCut):
        power.operation("next")
    assert not power.on


def test_a_plan_can_be_withdrawn() -> None:
    power = Power()
    power.cut_at(1, Moment.BEFORE)
    power.keep_on()
    Counter(power).step()


def test_the_history_names_every_operation() -> None:
    power = Power(history=[])
    counter = Counter(power)
    counter.step()
    counter.step("other")
    assert power.history == [
        Operation(1, "step", "of the counter"),
        Operation(2, "other", "of the counter"),
    ]
