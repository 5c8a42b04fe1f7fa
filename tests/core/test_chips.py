"""The plan for microcontrollers, and what is remembered of them."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from agent.board import MICROCONTROLLERS_MAX, BoardProfile, SlotName, parse_profile
from agent.bookkeeping import with_summary
from agent.chip_memory import ChipMemory, recall, remember
from agent.chip_plan import check_pairs, plan_chips
from agent.errors import PairError, ProfileError, RefusedError, TooLargeError, TrustError
from agent.firmware import ChipRecord, Firmware
from agent.journal import Installed, Journal, decode, encode
from agent.no_chips import chips_settled, wanted
from agent.release import CHIP_IMAGE_BYTES_MAX, Hosts, Image, encode_release, parse_release
from agent.report import DETAIL_LENGTH_MAX
from agent.update import ChipInstallation, Event, Installation, State, resume
from simulator.files import SimulatedFiles
from simulator.power import Power
from tests.core.samples import JOURNAL, PAYLOAD, RELEASE, UPDATE

PROFILES: Final = Path(__file__).parents[2] / "board-profiles"
TEXT: Final = (PROFILES / "gateway-stm32.toml").read_text()
PROFILE: Final = parse_profile(TEXT.encode(), "gateway-stm32.toml")
OLD: Final = Firmware("ab" * 32, Hosts(1, 5))
NEW: Final = Firmware("cd" * 32, Hosts(1, 5))
IMAGE: Final = Image(
    "acme,motor-f103", "motor", "firmware", 700, NEW.sha256, (PAYLOAD,), Hosts(1, 5)
)
CHIP: Final = ChipInstallation("motor", NEW, Installation("firmware", 700, NEW.sha256, PAYLOAD))


def planned(
    image: Image | None = IMAGE,
    belongs: dict[str, Firmware] | None = None,
    records: dict[str, ChipRecord] | None = None,
) -> tuple[ChipInstallation, ...]:
    release = replace(RELEASE, images=(*RELEASE.images, *([image] if image else [])))
    return plan_chips(release, PROFILE, belongs or {}, records or {}, host_counter=1)


def test_an_image_is_planned_for_the_chip_that_it_names() -> None:
    assert planned() == (CHIP,)
    assert planned(None) == ()
    assert planned(replace(IMAGE, hardware_id="acme,other")) == ()
    assert planned(replace(IMAGE, component="lamp")) == ()


def test_what_no_chip_takes_is_refused() -> None:
    with pytest.raises(RefusedError):
        planned(replace(IMAGE, part="other"))
    with pytest.raises(RefusedError):
        planned(replace(IMAGE, payloads=()))
    with pytest.raises(TooLargeError):
        planned(replace(IMAGE, length_bytes=CHIP_IMAGE_BYTES_MAX + 1))


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (Hosts(2, 9), Hosts(1, 9)),  # after a cut the old system would meet the new image
        (Hosts(1, 1), Hosts(1, 9)),  # the new system would meet the new image
        (Hosts(1, 9), Hosts(1, 1)),  # in the trial the new system meets the old image
        (None, Hosts(1, 1)),  # and stays with it, when the release leaves the chip out
    ],
)
def test_no_pair_on_the_way_may_be_one_that_does_not_fit(new: Hosts | None, old: Hosts) -> None:
    image = None if new is None else replace(NEW, hosts=new)
    with pytest.raises(PairError):
        check_pairs("motor", image, (replace(OLD, hosts=old),), before=1, after=2)


def test_an_image_that_stays_need_not_know_the_system_from_before() -> None:
    same = replace(OLD, hosts=Hosts(2, 9))
    check_pairs("motor", same, (OLD,), before=1, after=2)


def test_what_a_chip_may_hold_by_accident_counts_as_well() -> None:
    narrow = Firmware("ef" * 32, Hosts(1, 1))
    with pytest.raises(PairError):
        planned(belongs={"motor": OLD}, records={"motor": ChipRecord(OLD, narrow)})


def test_nobody_s_word_is_no_constraint() -> None:
    check_pairs("motor", None, (replace(OLD, hosts=None), None), before=1, after=99)


def journal(state: State, record: ChipRecord) -> Journal:
    update = replace(UPDATE, state=state, target="b", chips=(CHIP,), attempts=1)
    installed: dict[SlotName, Installed] = {"a": Installed("1", 1, {}, {"motor": OLD})}
    return Journal(update=update, installed=installed, chips={"motor": record})


@pytest.mark.parametrize(
    ("state", "booted", "image"),
    [
        (State.INSTALLED, "a", OLD),
        (State.SWITCHED, "a", OLD),
        (State.TRIAL, "b", NEW),
        (State.TRIAL, "a", OLD),
        (State.UNHEALTHY, "b", OLD),
        (State.UNHEALTHY, "a", OLD),
        (State.REVERTED, "a", OLD),
        (State.FAILED, "a", OLD),
    ],
)
def test_what_belongs_beside_which_system(state: State, booted: SlotName, image: Firmware) -> None:
    known = journal(state, ChipRecord(holds=image))
    assert wanted(known, booted) == {"motor": image}
    assert chips_settled(PROFILE, known, booted)
    begun = replace(known, chips={"motor": ChipRecord(holds=image, writing=NEW)})
    assert not chips_settled(PROFILE, begun, booted)


def test_an_update_has_not_ended_while_a_chip_is_behind() -> None:
    trial = replace(UPDATE, state=State.TRIAL, target="b")
    unhealthy = replace(trial, state=State.UNHEALTHY)
    kept = resume(trial, booted="b", default="b", same_boot=False, chips_settled=False)
    left = resume(unhealthy, booted="a", default="a", same_boot=False, chips_settled=False)
    assert (kept, left) == (None, None)
    assert resume(trial, booted="b", default="b", same_boot=False) is Event.HEALTH_CONFIRMED
    assert resume(unhealthy, booted="a", default="a", same_boot=False) is Event.BOOTED_PREVIOUS


def test_a_journal_with_chips_is_read_back_as_it_was_written() -> None:
    read_back = replace(OLD, hosts=None, read_back=True)
    known = replace(
        JOURNAL,
        update=replace(UPDATE, chips=(CHIP, replace(CHIP, chip="lamp", installation=None))),
        installed={"a": Installed("1", 1, {"root": "12" * 32}, {"motor": read_back})},
        chips={"motor": ChipRecord(read_back, NEW), "lamp": ChipRecord()},
    )
    assert decode(encode(known)) == known


def test_a_manifest_says_with_what_a_chip_s_image_works_and_nothing_of_slots() -> None:
    release = replace(RELEASE, images=(*RELEASE.images, IMAGE))
    content = encode_release(release)
    assert parse_release(content) == release
    with pytest.raises(TrustError):
        parse_release(encode_release(replace(release, images=(replace(IMAGE, hosts=None),))))
    slots = replace(RELEASE.images[0], hosts=Hosts(1, 2))
    with pytest.raises(TrustError):
        parse_release(encode_release(replace(release, images=(slots,))))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "motor"', 'name = "slots"'),
        ('"acme,motor-f103"', '"raspberrypi,4-model-b"'),
        ('"stm32-uart"', '"morse"'),
        ('hardware_id = "acme', 'hardware = "acme'),
    ],
)
def test_a_table_that_is_no_microcontroller_is_refused(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(ProfileError):
        parse_profile(TEXT.replace(old, new).encode(), "board.toml")


def test_two_chips_need_two_names_and_two_ports() -> None:
    table = TEXT[TEXT.index("[[microcontrollers]]") :]
    with pytest.raises(ProfileError, match="name"):
        parse_profile((TEXT + table).encode(), "board.toml")
    other = table.replace('"motor"', '"pump"')
    with pytest.raises(ProfileError, match="port"):
        parse_profile((TEXT + other).encode(), "board.toml")
    apart = other.replace("/dev/serial/by-id/", "/dev/serial/by-path/")
    two: BoardProfile = parse_profile((TEXT + apart).encode(), "board.toml")
    assert [chip.name for chip in two.microcontrollers] == ["motor", "pump"]


def test_an_update_of_many_chips_with_long_names_ends_in_a_journal_that_can_be_read() -> None:
    rows = (f"{number:x}{'m' * 127} {'ab' * 6}" for number in range(MICROCONTROLLERS_MAX))
    summary = f"chips: {', '.join(rows)}"
    for detail in ("", "all health checks passed", "x" * DETAIL_LENGTH_MAX):
        update = replace(UPDATE, detail=with_summary(detail, summary))
        assert decode(encode(Journal(update=update))).update == update


def test_what_chips_need_of_the_journal_is_remembered_beside_it() -> None:
    files = SimulatedFiles(Power())
    half = ChipRecord(holds=OLD, writing=NEW)
    remember(files, Journal(), journal(State.TRIAL, half))
    known = recall(files)
    assert known.belongs == {"a": {"motor": OLD}, "b": {"motor": NEW}}
    assert known.chips == {"motor": half}
    files.replace("chips.json", files.content["chips.json"].replace(b"motor", b"rotor"))
    assert recall(files) == ChipMemory()
    files.remove("chips.json")
    assert recall(files) == ChipMemory()


def test_a_device_without_chips_remembers_nothing() -> None:
    files = SimulatedFiles(Power())
    remember(files, Journal(), replace(JOURNAL, installed={"a": Installed("1", 1)}, chips={}))
    assert not files.content
