"""The flasher for MCUboot against a chip that is slow, deaf, talkative or a liar."""

import dataclasses
from pathlib import Path

import pytest

from agent.errors import (
    FlashError,
    FlashImageError,
    FlashLineError,
    FlashRefusedError,
    FlashVerifyError,
    RollbackError,
    TrustError,
)
from agent.flash import ChipImage, Progress, Recovery, Region
from agent.flash.entry import CommandEntry, enter
from agent.flash.mcumgr import McumgrFlasher, Way
from agent.flash.smp import SmpClient, SmpRefusal, SmpSettings
from agent.flash.smp_images import erase, list_images
from simulator.mcu.mcuboot import Mode
from simulator.mcu.mcuboot_chip import ChipFaults
from tests.flash.mcumgr_bench import LARGE, LINE, Bench, chip_image, ignore, images

RESET_INTO_RECOVERY = "0609414259434141414d4141414142614670596d3976644639746232526c416674460a"


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.power_on()
    return bench


def _states(bench: Bench) -> list[tuple[int, str, str]]:
    return [
        (
            row.slot,
            row.version,
            " ".join(
                word
                for word, there in (
                    ("active", row.active),
                    ("confirmed", row.confirmed),
                    ("pending", row.pending),
                )
                if there
            ),
        )
        for row in bench.flasher.slots()
    ]


def test_updates_on_trial_and_stays_after_confirm(bench: Bench) -> None:
    assert bench.flasher.recovery is Recovery.AB
    bench.update()
    assert _states(bench) == [(0, "1.1.0", "active"), (1, "1.0.0", "confirmed")]
    bench.flasher.confirm()
    bench.power_on()
    assert _states(bench) == [(0, "1.1.0", "active confirmed"), (1, "1.0.0", "")]


def test_any_reset_before_confirm_reverts(bench: Bench) -> None:
    bench.update()
    bench.power_on()
    assert bench.chip.running_version == "1.0.0"


def test_reverts_when_told_to_and_has_nothing_to_do_the_second_time(bench: Bench) -> None:
    bench.update()
    bench.flasher.revert()
    assert bench.chip.running_version == "1.0.0"
    resets = bench.chip.resets
    bench.flasher.revert()
    assert bench.chip.resets == resets


def test_reverts_a_trial_that_is_only_marked_yet(bench: Bench) -> None:
    bench.update()
    bench.flasher.revert()
    bench.server.mcuboot.request_swap(permanent=False)
    bench.flasher.revert()
    bench.power_on()
    assert bench.chip.running_version == "1.0.0"


def test_sends_nothing_when_the_image_runs_already(bench: Bench) -> None:
    bench.update()
    bench.flasher.confirm()
    operations = bench.server.mcuboot.flash.operations
    plan = bench.flasher.plan(bench.new, ignore)
    assert (plan.write_bytes, plan.unchanged_bytes) == (0, len(bench.images.new))
    bench.update()
    assert bench.server.mcuboot.flash.operations == operations


def test_goes_on_where_an_interrupted_upload_stopped(bench: Bench) -> None:
    bench.line.faults.unplugged_after_bytes = 1000
    with pytest.raises(FlashLineError):
        bench.update()
    bench.line.faults.unplugged_after_bytes = None
    seen: list[Progress] = []
    bench.flasher = McumgrFlasher(bench.line, bench.settings)
    bench.flasher.identify()
    bench.flasher.write(bench.flasher.plan(bench.new, ignore), seen.append)
    assert seen[0].done_bytes > 400  # the first answer says how much is there already
    bench.flasher.verify(bench.new, ignore)
    bench.flasher.start()
    assert bench.chip.running_version == "1.1.0"


@pytest.mark.parametrize(
    "faults",
    [
        ChipFaults(lost_requests=frozenset({2, 4, 5, 7})),
        ChipFaults(lost_answers=frozenset({2, 3, 5, 6, 8})),
        ChipFaults(late_s=dict.fromkeys(range(1, 40), 2.3)),
        ChipFaults(late_s=dict.fromkeys(range(3, 40, 2), 7.0)),
        ChipFaults(chatter=True),
        ChipFaults(babble_lines=30),
    ],
    ids=["lost requests", "lost answers", "late", "very late", "console between", "much console"],
)
def test_what_a_line_may_do_only_costs_time(bench: Bench, faults: ChipFaults) -> None:
    bench.chip.faults = faults
    bench.update()
    bench.flasher.confirm()
    assert bench.chip.running_version == "1.1.0"
    content = bench.server.mcuboot.content(0, len(bench.images.new))
    assert content == bench.images.new


@pytest.mark.parametrize("seed", range(4))
def test_flipped_lost_and_doubled_bytes_only_cost_time(bench: Bench, seed: int) -> None:
    faults = bench.line.faults
    faults.seed, faults.flip, faults.drop, faults.double = seed, 5e-4, 5e-4, 5e-4
    bench.update()
    assert bench.chip.running_version == "1.1.0"


def test_a_lost_reset_is_asked_for_again(bench: Bench) -> None:
    bench.flasher.identify()
    bench.flasher.write(bench.flasher.plan(bench.new, ignore), ignore)
    bench.chip.faults = ChipFaults(lost_requests=frozenset({bench.chip.requests + 3}))
    bench.flasher.start()
    assert bench.chip.running_version == "1.1.0"


def test_fills_the_buffer_and_never_more(bench: Bench) -> None:
    big = images(40_000)
    for buffer_bytes in (128, 256, 384, 400, 512, 1024, 2048):
        bench = Bench(LARGE, made=big, buffer_bytes=buffer_bytes)
        bench.power_on()
        bench.update()
        assert bench.chip.running_version == "1.1.0"
        assert bench.flasher.traffic.resends == 0
        messages = len(big.new) / (buffer_bytes - 4 - 8 - 16)
        assert bench.flasher.traffic.round_trips < messages * 1.15 + 15


def test_a_server_that_tells_no_size_gets_the_one_in_the_settings(bench: Bench) -> None:
    bench.server.tells_parameters = False
    bench.update()
    assert bench.chip.running_version == "1.1.0"


def test_a_buffer_smaller_than_the_settings_say_is_named(bench: Bench) -> None:
    bench = Bench(buffer_bytes=256)
    bench.server.tells_parameters = False
    bench.power_on()
    with pytest.raises(FlashLineError, match="buffer size in the settings"):
        bench.update()


def test_a_server_that_says_ok_and_writes_nothing_is_found_out(bench: Bench) -> None:
    bench.server.faults.ok_without_writing = True
    with pytest.raises(FlashVerifyError, match="was expected on the chip"):
        bench.update()
    assert bench.chip.running_version == "1.0.0"


def test_a_server_that_compares_says_when_the_upload_is_another(bench: Bench) -> None:
    bench.server.faults.ok_without_writing = True
    bench.server.tells_match = True
    with pytest.raises(FlashVerifyError, match="SHA-256"):
        bench.update()


def test_a_hash_of_something_else_is_found_out(bench: Bench) -> None:
    bench.server.faults.wrong_hash = True
    with pytest.raises(FlashVerifyError):
        bench.update()


def test_an_image_that_the_bootloader_does_not_take_is_found_out_after_the_reset(
    bench: Bench,
) -> None:
    bench.flasher.identify()
    bench.flasher.write(bench.flasher.plan(bench.new, ignore), ignore)
    bench.flasher.verify(bench.new, ignore)
    bench.server.mcuboot.program(1, 100, bytes(8))  # the flash forgets
    with pytest.raises(FlashVerifyError, match=r"1\.0\.0 .* running"):
        bench.flasher.start()
    bench.update()  # and takes it when it is sent again
    assert bench.chip.running_version == "1.1.0"


def test_nothing_is_sent_of_an_image_that_nobody_signed_or_that_is_older(bench: Bench) -> None:
    damaged = bytearray(bench.images.new)
    damaged[200] ^= 1
    bench.flasher.identify()
    requests = bench.chip.requests
    with pytest.raises(TrustError):
        bench.flasher.plan(chip_image(bytes(damaged)), ignore)
    with pytest.raises(FlashImageError, match="2 regions"):
        bench.flasher.plan(ChipImage((Region(0, b"a"), Region(9, b"b"))), ignore)
    settings = dataclasses.replace(bench.settings, security_counter_min=3)
    with pytest.raises(RollbackError):
        McumgrFlasher(bench.line, settings).plan(bench.new, ignore)
    assert bench.chip.requests == requests


def test_a_silent_chip_is_given_up_after_a_bounded_time(bench: Bench) -> None:
    bench.chip.faults = ChipFaults(lost_requests=frozenset(range(1000)))
    with pytest.raises(FlashLineError, match="stayed without"):
        bench.flasher.identify()
    assert bench.clock.now_s < 15


def test_a_chip_that_only_talks_is_given_up_too(bench: Bench) -> None:
    bench.chip.faults = ChipFaults(babble_lines=2000)
    with pytest.raises(FlashLineError, match="stayed without"):
        bench.flasher.identify()
    assert bench.clock.now_s < 120


def test_a_trial_that_somebody_left_is_ended_before_the_upload(bench: Bench) -> None:
    bench.update()  # in trial, and this agent has forgotten it
    other = images(650)
    settings = dataclasses.replace(bench.settings, keys=(other.key,))
    flasher = McumgrFlasher(bench.line, settings)
    flasher.identify()
    flasher.write(flasher.plan(chip_image(other.new), ignore), ignore)
    flasher.verify(chip_image(other.new), ignore)
    flasher.start()
    flasher.confirm()
    content = bench.server.mcuboot.content(0, len(other.new))
    assert content == other.new


def test_recovery_writes_the_first_slot_and_starts_it() -> None:
    bench = Bench(way=Way.RECOVERY)
    bench.chip.recovery_next = True
    bench.power_on()
    assert bench.flasher.recovery is Recovery.FRAGILE
    bench.update()
    bench.flasher.confirm()
    assert bench.chip.running_version == "1.1.0"
    with pytest.raises(FlashRefusedError, match="only one"):
        bench.flasher.revert()


def test_the_bytes_that_the_documentation_names_lead_into_recovery() -> None:
    entry = CommandEntry(bytes.fromhex(RESET_INTO_RECOVERY), baud=115_200, boot_s=1.0)
    bench = Bench(way=Way.RECOVERY)
    bench.power_on()
    enter(entry, bench.line, LINE, None)
    assert bench.chip.mode is Mode.RECOVERY
    bench.update()
    assert bench.chip.running_version == "1.1.0"
    assert RESET_INTO_RECOVERY in Path("docs/microcontrollers.md").read_text()


def test_recovery_without_hashes_is_believed_only_after_the_start() -> None:
    bench = Bench(way=Way.RECOVERY)
    bench.server.tells_hash = False
    bench.chip.recovery_next = True
    bench.power_on()
    bench.update()
    assert bench.chip.running_version == "1.1.0"

    settings = dataclasses.replace(bench.settings, answers_after_start=False)
    bench.flasher = McumgrFlasher(bench.line, settings)
    bench.chip.recovery_next = True
    bench.power_on()
    with pytest.raises(FlashVerifyError, match="lists hashes"):
        bench.update()


def test_recovery_that_forgets_its_offset_is_begun_again() -> None:
    bench = Bench(way=Way.RECOVERY)
    bench.chip.recovery_next = True
    bench.power_on()
    bench.line.faults.unplugged_after_bytes = 900
    with pytest.raises(FlashLineError):
        bench.update()
    bench.line.faults.unplugged_after_bytes = None
    bench.power_on()
    assert bench.chip.mode is Mode.RECOVERY  # half an image does not start
    bench.update()
    assert bench.chip.running_version == "1.1.0"


def test_a_slot_can_be_emptied_unless_it_is_the_way_back(bench: Bench) -> None:
    client = SmpClient(bench.line, SmpSettings())
    bench.update()
    with pytest.raises(SmpRefusal, match="bad state"):
        erase(client, 1, 10.0)
    bench.flasher.confirm()
    erase(client, 1, 10.0)
    assert [row.slot for row in list_images(client)] == [0]


def test_confirm_wants_the_planned_image_to_run(bench: Bench) -> None:
    bench.flasher.identify()
    bench.flasher.plan(bench.new, ignore)
    with pytest.raises(FlashError, match="was expected on the chip"):
        bench.flasher.confirm()
