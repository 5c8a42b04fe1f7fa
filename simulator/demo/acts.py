"""The story: a release reaches a fleet through a power cut, and a bad one is halted on the way."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.board import BoardProfile
from agent.report import Outcome
from agent.rollout import bucket
from simulator.demo.checks import (
    Promise,
    file_system_is_clean,
    never_began,
    reported_once,
    reports_of,
    slot_holds,
    went_on_after_the_cut,
)
from simulator.demo.devices import DemoDevice
from simulator.demo.fleet import DemoFleet
from simulator.demo.gateway import NAME as GATEWAY
from simulator.demo.gateway import chips_hold, gateway_profile, pull_plug_in_trial
from simulator.demo.images import DemoImage, make_image
from simulator.demo.screen import Screen
from simulator.image import Behaviour
from simulator.profiles import load_profile

BOARDS: Final = ("rpi4-tryboot", "uboot-bootcount")
DEVICES_PER_BOARD: Final = 3
CANARY_SHARE: Final = 3000
CANARIES: Final = 2
SECOND_PHASE_S: Final = 15
CONFIRM_WITHIN_S: Final = 3
PATIENCE_S: Final = 60.0
LISTEN_S: Final = 3.0
POLL_S: Final = 0.05
CUT_AT_WRITE: Final = 30
FACTORY, GOOD, BAD, LAMP = "2026.1", "2026.2", "2026.3", "2026.4"
"""The last is for the gateway alone; its system is that of `GOOD`, and its chips' images are new."""


class StoryError(RuntimeError):
    """The story did not go on in time."""


@dataclass(slots=True)
class Story:
    """The demonstration from its first command to its summary."""

    folder: Path
    screen: Screen

    def tell(self) -> tuple[Promise, ...]:
        """Everything, in order; what was promised, with what was seen."""
        with ExitStack() as servers:
            fleet = DemoFleet(self.folder, self.screen.typed, self.screen.say, servers)
            images, devices = self._set_up(fleet)
            self.screen.devices, self.screen.store = devices, fleet.workspace.store
            self.screen.begin()
            with self.screen:
                try:
                    canaries = self._perform(fleet, devices)
                finally:
                    seconds = self.screen.seconds
                    self._switch_off(devices)
                    fleet.close()
        return self._check(fleet, devices, images, canaries, seconds)

    def _set_up(self, fleet: DemoFleet) -> tuple[dict[str, DemoImage], tuple[DemoDevice, ...]]:
        self.screen.act("Setting up: images, keys, broker, repository, devices")
        made = (
            make_image(self.folder, FACTORY, 1, Behaviour.HEALTHY),
            make_image(self.folder, GOOD, 2, Behaviour.HEALTHY),
            make_image(self.folder, BAD, 3, Behaviour.FAILS_CHECKS),
        )
        images = {image.release: image for image in made}
        self.screen.say("images", "three real ext4 roots of 64 MiB; the third fails its checks")
        fleet.open()
        devices: list[DemoDevice] = []
        for board in BOARDS:
            profile = quick_profile(board)
            for number in range(1, DEVICES_PER_BOARD + 1):
                name = f"{board.split('-')[0]}-{number}"
                devices.append(fleet.enrol(name, profile, images[FACTORY], len(devices)))
        gateway = gateway_profile(quick_profile(BOARDS[0]))
        devices.append(fleet.enrol(GATEWAY, gateway, images[FACTORY], len(devices)))
        self.screen.say("fleet", f"{len(devices)} devices enrolled, each with its own certificate")
        boards = tuple(load_profile(board) for board in BOARDS)
        fleet.release(images[GOOD], boards, "feature", gateway)
        fleet.release(images[BAD], boards, "feature")
        fleet.release(
            replace(images[GOOD], release=LAMP, counter=4), boards[:1], "feature", gateway
        )
        return images, tuple(devices)

    def _perform(self, fleet: DemoFleet, devices: tuple[DemoDevice, ...]) -> tuple[str, ...]:
        store = fleet.workspace.store
        self.screen.act(f"1. The fleet runs release {FACTORY}")
        for device in devices:
            device.start()
        self._wait(
            "every device is online", lambda: len(self.screen.known(online=True)) == len(devices)
        )

        self.screen.act(f"2. Release {GOOD} for everyone; one device loses its power in mid-write")
        devices[1].cut_power_in_write(CUT_AT_WRITE)
        fleet.command("rollout", "start", "spring", "--release", GOOD, "--phase", "100")
        fleet.command("publish")
        fleet.command("notify")
        self._wait(
            f"every device has reported {GOOD}",
            lambda: all(_outcome(store, device.name, GOOD) for device in devices),
        )

        self.screen.act(
            f"3. Release {BAD} is bad; it is meant for two canaries first. The gateway gets {LAMP}, and "
            "one of its chips is unplugged in mid-flash"
        )
        rollout, canaries = choose_rollout(tuple(device.name for device in devices))
        pull_plug_in_trial(devices[-1], LAMP)
        fleet.command(
            "rollout", "start", "lamp", "--release", LAMP, "--device", GATEWAY, "--phase", "100"
        )
        self.screen.say("fleet", f"canaries by their place in this rollout: {', '.join(canaries)}")
        fleet.command(
            *("rollout", "start", rollout, "--release", BAD, "--failures-max", "0"),
            *("--phase", str(CANARY_SHARE // 100), "--phase", f"100@+{SECOND_PHASE_S}s"),
        )
        fleet.command("publish")
        fleet.command("notify")
        second_phase_s = self.screen.seconds + SECOND_PHASE_S
        self._wait(
            "the canaries have gone back",
            lambda: all(_outcome(store, name, BAD) for name in canaries),
        )
        self._wait(
            "the gateway has gone back, with both its chips",
            lambda: _outcome(store, GATEWAY, LAMP) is not None,
        )
        self._wait(
            "the second phase would have begun",
            lambda: self.screen.seconds > second_phase_s + LISTEN_S,
        )
        return canaries

    def _wait(self, words: str, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not happened():
            if time.monotonic() > deadline:
                raise StoryError(f"after {PATIENCE_S:.0f} s it is still not so: {words}")
            dead = [device for device in self.screen.devices if device.error is not None]
            if dead:
                raise StoryError(f"{dead[0].name} died: {dead[0].error}")
            time.sleep(POLL_S)
        self.screen.say("story", words)

    def _switch_off(self, devices: tuple[DemoDevice, ...]) -> None:
        for device in devices:
            device.stop()
        for device in devices:
            device.join(PATIENCE_S)

    def _check(
        self,
        fleet: DemoFleet,
        devices: tuple[DemoDevice, ...],
        images: dict[str, DemoImage],
        canaries: tuple[str, ...],
        seconds: float,
    ) -> tuple[Promise, ...]:
        promises = []
        for device in devices:
            slot = device.simulation.board.started[-1] or "-"
            promises.append(slot_holds(device, slot, images[GOOD]))
            promises.append(file_system_is_clean(device, slot, self.folder))
            due = {GOOD: "confirmed"} | ({BAD: "reverted"} if device.name in canaries else {})
            due |= {LAMP: "reverted"} if device.name == GATEWAY else {}
            reports = reports_of(fleet.workspace.store, device.name)
            promises.append(reported_once(reports, device.name, due))
            if device.name not in canaries:
                promises.append(never_began(device, BAD))
        promises.append(chips_hold(devices[-1], GOOD, images[GOOD].counter))
        cut = devices[1]
        promises.append(
            went_on_after_the_cut(
                cut,
                reports_of(fleet.workspace.store, cut.name),
                images[GOOD],
                fleet.payload_bytes(GOOD, cut.simulation.board.profile),
            )
        )
        status = fleet.command("rollout", "status", "--json", quiet=True)
        promises.append(
            Promise(f"release {BAD}: halted by the collector", "halted" in status, "signed halt")
        )
        promises.append(Promise("the story took at most 60 s", seconds <= 60, f"{seconds:.1f} s"))
        return tuple(promises)


def quick_profile(name: str) -> BoardProfile:
    """A shipped board profile that gives up on a bad trial within seconds."""
    profile = load_profile(name)
    return replace(profile, confirm=replace(profile.confirm, within_s=CONFIRM_WITHIN_S))


def choose_rollout(devices: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """A rollout id whose first phase has one canary of each kind of board, and those canaries."""
    for number in range(10_000):
        rollout = f"summer-{number}"
        canaries = tuple(name for name in devices if bucket(rollout, name) < CANARY_SHARE)
        if GATEWAY in canaries:
            continue
        if len(canaries) == CANARIES and len({name.split("-")[0] for name in canaries}) == CANARIES:
            return rollout, canaries
    raise StoryError("no rollout id gives one canary of each kind; choose other device names")


def _outcome(store: Path, device: str, release: str) -> Outcome | None:
    for stored in reports_of(store, device):
        if stored.report.release == release:
            return stored.report.outcome
    return None
