"""Adds to the plan of a board with microcontrollers what its releases have for them, and their weather.

It is drawn apart from all else, so that a board without any has the same storms whatever is drawn here.
"""

from dataclasses import replace
from typing import Final

from agent.board import BoardProfile
from simulator.power import Moment
from simulator.storm.draw import Sky
from simulator.storm.plan import HOUR_S, Act, Deed, DevicePlan, Family, Plan, Shipment, chance_of

WEATHER: Final = 0.5
LEFT_OUT: Final = 0.2
FUSSY: Final = 0.07
TROUBLES: Final = (
    *(Deed.UNPLUG, Deed.UNPLUG, Deed.NOISE, Deed.SILENCE, Deed.CHIP_LIES),
    *(Deed.CHIP_CUT, Deed.CHIP_CUT, Deed.CHIP_RESTART),
)
SOON_S: Final = 15.0
"""An update from a quick repository begins and is over in so many seconds after its release."""
FAR: Final = (12, 60, 600)
NOISES: Final = (0.0005, 0.005, 0.05)
LASTS_S: Final = (30.0, 600.0, 2 * HOUR_S, 9 * HOUR_S)
"""How long a trouble lasts: a trial waits for ten minutes, and the way back is tried for an hour."""


def draw_chips(plan: Plan, profile: BoardProfile) -> Plan:
    """The plan with releases for the chips of this board, and with what happens to them."""
    if not profile.microcontrollers:
        return plan
    chance = chance_of(plan.seed, plan.board, "chips")
    lies = any(device.lies for device in plan.devices)
    shipped_s = tuple(act.at_s for act in plan.acts if act.deed is Deed.SHIP)
    sky = Sky(chance, plan.storm_s, shipped_s)
    weather = not lies and chance.random() < WEATHER
    return replace(
        plan,
        families=plan.families | ({Family.CHIPS} if weather else set()),
        shipments=tuple(_with_chips(sky, one) for one in plan.shipments),
        devices=tuple(_with_weather(sky, one, weather=weather) for one in plan.devices),
    )


def _with_chips(sky: Sky, shipment: Shipment) -> Shipment:
    chips = sky.chance.random() >= LEFT_OUT
    return replace(shipment, chips=chips, fussy=chips and sky.chance.random() < FUSSY)


def _with_weather(sky: Sky, device: DevicePlan, *, weather: bool) -> DevicePlan:
    acts = list(device.acts)
    for _ in range(sky.chance.randint(1, 3) if weather else 0):
        acts += _trouble(sky)
    in_order = tuple(sorted(acts, key=lambda act: act.at_s))
    return replace(device, acts=in_order, own_supply=sky.chance.random() < 0.5)


def _trouble(sky: Sky) -> list[Act]:
    """One trouble and its end; what counts writes or bytes waits until they have been sent."""
    chance = sky.chance
    deed = chance.choice(TROUBLES)
    at_s = chance.choice((sky.moment(), chance.choice(sky.shipped_s) + chance.uniform(0, SOON_S)))
    number = (
        chance.randint(1, 12) if deed is Deed.CHIP_CUT else chance.randint(1, chance.choice(FAR))
    )
    trouble = Act(
        at_s,
        deed,
        number=number,
        word=str(chance.choice(list(Moment))),
        amount=chance.choice(NOISES),
    )
    return [trouble, Act(at_s + chance.choice(LASTS_S), Deed.CHIP_WELL)]
