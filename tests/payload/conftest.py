import pytest

from benchmarks.software import make_ext4
from tests.payload.pair import Made, made


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("pair")
    return made(make_ext4(folder, 0), make_ext4(folder, 1), folder / "blobs")
