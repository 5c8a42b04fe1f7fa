from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.harbour import Harbour, harbour, make_image


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What the device is made with, and what it is updated to."""
    folder = tmp_path_factory.mktemp("images")
    return make_image(folder, 1), make_image(folder, 2)


@pytest.fixture
def scene(tmp_path: Path, images: tuple[Path, Path]) -> Iterator[Harbour]:
    with harbour(tmp_path, *images) as made:
        yield made
