"""RAUC's service on a bus of its own, with two slots, and the bundles that it installs."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.pair import Pair

START_TIMEOUT_S: Final = 10.0
COMPRESSION: Final = "-comp zstd -Xcompression-level 3"
ADAPTIVE_BLOCKS: Final = " -b 64k"
MANIFEST: Final = """[update]
compatible=bench
version=2
[bundle]
format=plain
[image.rootfs]
filename=root.img
"""
SETTINGS: Final = """[system]
compatible=bench
bootloader=noop
statusfile={own}/status
mountprefix={own}/mnt
data-directory={own}/data
[keyring]
path={made}/rauc.pem
[slot.rootfs.0]
device={active}
type=raw
bootname=A
[slot.rootfs.1]
device={standby}
type=raw
bootname=B
"""
BUS: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={own}/bus</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>
"""


class RaucService:
    """The service, for the length of this context; `own` is a folder for its files."""

    def __init__(self, pair: Pair, active: Path, standby: Path, own: Path) -> None:
        self._pair = pair
        self._slots = active, standby
        self._own = own
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def pid(self) -> int:
        """The service's process."""
        return self._processes[-1].pid

    @property
    def environment(self) -> dict[str, str]:
        """Where its client finds it."""
        return {
            "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self._own}/bus",
            "DBUS_STARTER_BUS_TYPE": "system",
        }

    def __enter__(self) -> Self:
        """Start the bus and the service; return when it can be asked."""
        for name in ("mnt", "data"):
            (self._own / name).mkdir(parents=True, exist_ok=True)
        _make_signer(self._pair.made("rauc.key"), self._pair.made("rauc.pem"))
        active, standby = self._slots
        made = self._pair.made("rauc.pem").parent
        settings, bus = self._own / "system.conf", self._own / "bus.conf"
        settings.write_text(
            SETTINGS.format(own=self._own, made=made, active=active, standby=standby)
        )
        bus.write_text(BUS.format(own=self._own))
        self._start("dbus-daemon", f"--config-file={bus}", "--nofork")
        self._wait_for((self._own / "bus").exists)
        self._start("rauc", "-c", str(settings), "--override-boot-slot=A", "service")
        self._wait_for(self._answers)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop both."""
        for process in reversed(self._processes):
            process.terminate()
            process.wait()

    def packed(self, pair: Pair, *, adaptive: bool) -> Path:
        """The signed bundle with the new image; made at the first call."""
        made = pair.made(f"{pair.name}.{'adaptive' if adaptive else 'plain'}.raucb")
        if made.exists():
            return made
        content = self._own / "content"
        shutil.rmtree(content, ignore_errors=True)
        content.mkdir()
        (content / "root.img").hardlink_to(pair.new)
        extra = "adaptive=block-hash-index\n" if adaptive else ""
        (content / "manifest.raucm").write_text(MANIFEST + extra)
        signer = (f"--cert={pair.made('rauc.pem')}", f"--key={pair.made('rauc.key')}")
        packing = f"--mksquashfs-args={COMPRESSION}{ADAPTIVE_BLOCKS if adaptive else ''}"
        command = ("rauc", *signer, packing, "bundle", str(content), str(made))
        subprocess.run(command, check=True, capture_output=True)
        return made

    def _start(self, *command: str) -> None:
        log = (self._own / f"{command[0]}.log").open("wb")
        with log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **self.environment}
            )
        self._processes.append(process)

    def _answers(self) -> bool:
        command = ("rauc", "status")
        return not subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, check=False
        ).returncode

    def _wait_for(self, ready: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"RAUC's service did not start; see {self._own}")
            time.sleep(0.05)


def _make_signer(key: Path, certificate: Path) -> None:
    if certificate.exists():
        return
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650")
    names = ("-keyout", str(key), "-out", str(certificate), "-subj", "/CN=rauc")
    subprocess.run((*command, *names), check=True, capture_output=True)
