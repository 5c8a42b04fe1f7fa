"""A partition of a whole disk is exactly what sfdisk and mkfs put there, however the disk is packed."""

import random
from contextlib import suppress
from pathlib import Path

import pytest

from agent.errors import ConfigError
from fleet.disk_image_choice import Choice, Named, Number, Whole, split_choice
from fleet.images import PickyImage, Taken, open_image, open_picky
from tests.fleet.images.disks import GPT, LOGICAL, MBR, MIB, Disk, make_disk, pack


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    return make_disk(tmp_path_factory.mktemp("gpt"), GPT, (2048, 8192))


@pytest.fixture(scope="module")
def mbr(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    return make_disk(tmp_path_factory.mktemp("mbr"), MBR, (2048, 8192))


def take(path: Path, choice: Choice | None) -> tuple[bytes, Taken]:
    with open_picky(PickyImage(path, choice)) as (stream, taken):
        parts = []
        while part := stream.read(MIB):
            parts.append(part)
        return b"".join(parts), taken


ROOT = [Number(2), Named("name", "system-a"), Named("label", "rootfs")]


@pytest.mark.parametrize("choice", ROOT)
def test_a_gpt_partition_is_found_by_number_name_and_label(gpt: Disk, choice: Choice) -> None:
    content, taken = take(gpt.path, choice)
    assert content == gpt.root
    assert taken.partition is not None
    assert taken.partition.number == 2
    assert taken.partition.name == "system-a"
    assert taken.partition.file_system.kind == "ext4"


def test_an_mbr_partition_is_found_by_role_and_label(mbr: Disk) -> None:
    assert take(mbr.path, Named("role", "boot"))[0] == mbr.boot
    assert take(mbr.path, Named("role", "root"))[0] == mbr.root
    assert take(mbr.path, Named("label", "BOOTFS"))[0] == mbr.boot


def test_a_role_follows_the_type_of_the_partition(gpt: Disk) -> None:
    assert take(gpt.path, Named("role", "boot"))[0] == gpt.boot


def test_logical_partitions_count_from_five(tmp_path: Path) -> None:
    disk = make_disk(tmp_path, LOGICAL, (2048, 10240))
    assert take(disk.path, Number(5))[0] == disk.root
    assert take(disk.path, Number(1))[0] == disk.boot
    assert len(take(disk.path, Number(6))[0]) == 4 * MIB
    with pytest.raises(ConfigError, match=r"partition 2 was expected.*There are 1: .*; 5: .*; 6: "):
        take(disk.path, Number(2))


@pytest.mark.parametrize("program", ["xz", "gzip", "zstd", "bzip2"])
def test_a_packed_disk_gives_the_same_partition(gpt: Disk, program: str) -> None:
    packed = pack(gpt.path, program)
    content, taken = take(packed, Named("label", "rootfs"))
    assert content == gpt.root
    assert taken.packing == program


def test_a_wrong_choice_lists_what_is_there(gpt: Disk) -> None:
    with pytest.raises(ConfigError, match="label 'swap' was expected, it is not there") as told:
        take(gpt.path, Named("label", "swap"))
    for words in ("1: 2097152 bytes", "vfat, label 'BOOTFS'", "name 'data'"):
        assert words in str(told.value)


def test_a_whole_disk_is_not_taken_for_one_part(mbr: Disk) -> None:
    with pytest.raises(ConfigError, match="this is a whole disk"), open_image(mbr.path):
        pass


def test_a_whole_disk_is_taken_when_that_is_asked_for(mbr: Disk) -> None:
    content, taken = take(mbr.path, Whole())
    assert content == mbr.path.read_bytes()
    assert taken.partition is None


def test_a_file_system_alone_is_no_disk(tmp_path: Path, gpt: Disk) -> None:
    for content in (gpt.boot, gpt.root, bytes(4096), b"kernel" * 1024):
        path = tmp_path / "image"
        path.write_bytes(content)
        assert take(path, None) == (content, Taken(path, "raw", None, None))
        with pytest.raises(ConfigError, match="no partition table"):
            take(path, Number(1))


@pytest.mark.parametrize("place", [520, 1024 + 40], ids=["header", "entries"])
def test_a_gpt_that_is_damaged_is_refused(gpt: Disk, tmp_path: Path, place: int) -> None:
    content = bytearray(gpt.path.read_bytes())
    content[place] ^= 1
    path = tmp_path / "damaged.img"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        take(path, Number(2))


def test_a_disk_that_is_cut_short_is_refused(gpt: Disk, tmp_path: Path) -> None:
    path = tmp_path / "short.img"
    path.write_bytes(gpt.path.read_bytes()[: 8 * MIB])
    with pytest.raises(ConfigError, match="cut short"):
        take(path, Number(2))


def test_damage_behind_the_partition_of_a_packed_disk_is_found(gpt: Disk, tmp_path: Path) -> None:
    packed = bytearray(pack_once(gpt, tmp_path).read_bytes())
    packed[-6] ^= 1  # gzip's own checksum
    path = tmp_path / "damaged.img.gz"
    path.write_bytes(packed)
    with pytest.raises(ConfigError, match="damaged"):
        take(path, Number(1))


def pack_once(disk: Disk, folder: Path) -> Path:
    copy = folder / "copy.img"
    copy.write_bytes(disk.path.read_bytes())
    return pack(copy, "gzip")


def test_no_bytes_at_all_can_do_more_than_be_refused(tmp_path: Path, gpt: Disk) -> None:
    path = tmp_path / "noise.img"
    chance = random.Random(7)
    start = gpt.path.read_bytes()[: 40 * 512]
    for _ in range(300):
        content = bytearray(start)
        for _ in range(chance.randrange(1, 20)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        with suppress(ConfigError):  # anything else is a defect
            found, taken = take(path, Number(2))
            assert taken.partition is not None
            assert len(found) == taken.partition.length_bytes


@pytest.mark.parametrize(
    ("text", "path", "choice"),
    [
        ("disk.img", "disk.img", None),
        ("disk.img#2", "disk.img", Number(2)),
        ("a#b/disk.img.xz#label=my root", "a#b/disk.img.xz", Named("label", "my root")),
        ("disk#one", "disk#one", None),
        ("disk.img#whole", "disk.img", Whole()),
    ],
)
def test_a_choice_stands_behind_the_last_hash(text: str, path: str, choice: Choice | None) -> None:
    assert split_choice(text) == (Path(path), choice)
