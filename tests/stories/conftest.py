import pytest

from agent.board import BoardProfile
from simulator.lab import Lab, make_lab
from simulator.profiles import load_profile, profile_names

ONE_GATEWAY = "gateway-stm32"
"""The systems of all gateways are the same; `test_gateway.py` has the stories of their chips."""
BOARDS = [
    name
    for name in profile_names()
    if name == ONE_GATEWAY or not load_profile(name).microcontrollers
]


@pytest.fixture(params=BOARDS)
def profile(request: pytest.FixtureRequest) -> BoardProfile:
    return load_profile(str(request.param))


@pytest.fixture
def lab(profile: BoardProfile) -> Lab:
    return make_lab(profile, seed=7)
