from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mcu.avr_chip import ATMEGABOOT, OPTIBOOT, RealAvr, compile_harness, real_avr


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_harness(tmp_path_factory.mktemp("simavr"))


@pytest.fixture
def real_optiboot(harness: Path, tmp_path: Path) -> Iterator[RealAvr]:
    with real_avr(harness, OPTIBOOT, tmp_path) as chip:
        yield chip


@pytest.fixture
def real_atmegaboot(harness: Path, tmp_path: Path) -> Iterator[RealAvr]:
    with real_avr(harness, ATMEGABOOT, tmp_path) as chip:
        yield chip
