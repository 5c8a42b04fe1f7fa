"""Where the processor time of an installation goes: the program's own part, over HTTPS, onto a device."""

import cProfile
import pstats
import time
from typing import Final

from agent.basics import RepositorySettings
from agent.install import Job, Meter, install
from agent.linux.block_device import LinuxBlockDevice
from agent.linux.repository import HttpsRepository
from agent.release import Image
from benchmarks import device
from benchmarks.pair import installation_of
from benchmarks.rows import Row
from benchmarks.slots import make_slot
from benchmarks.stage import Stage

SECTION: Final = "profile"
GROUPS: Final = {
    "SHA-256": ("openssl_sha256", "'update' of '_hashlib.HASH'"),
    "zstd": ("ZstdDecompressor",),
    "adding differences": ("add_bytes", "from_bytes", "to_bytes"),
    "TLS": ("_ssl._SSLSocket",),
    "reading slots": ("posix.pread", "posix.posix_fadvise"),
    "comparing": ("'startswith' of 'bytes'",),
}
REST: Final = "all else: Python"


def measure(stage: Stage, image: Image, kind: str) -> list[Row]:
    """The rows of one installation, the largest group first; `kind` names it."""
    device.publish(stage.fleet, image, stage.pair.blobs)
    make_slot(stage.standby_file, stage.pair.new.stat().st_size)
    settings = RepositorySettings((stage.server.url("fleet"),), str(stage.authority))
    repository = HttpsRepository(settings)
    slots = LinuxBlockDevice(str(stage.standby)), LinuxBlockDevice(str(stage.active))
    installation = installation_of(image)
    profile = cProfile.Profile(time.thread_time)
    jobs = (Job(installation, *slots),)
    profile.runcall(install, jobs, repository, Meter(), lambda: None)
    repository.close()
    for slot in slots:
        slot.close()
    device.same(stage.standby, stage.pair.new)
    spent = dict.fromkeys((*GROUPS, REST), 0.0)
    for (_, _, name), (_, _, own_s, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]  # typeshed has no name for it
        spent[_group(name)] += own_s
    return [Row(SECTION, kind, name, cpu_s=round(own_s, 2)) for name, own_s in spent.items()]


def _group(name: str) -> str:
    for group, words in GROUPS.items():
        if any(word in name for word in words):
            return group
    return REST
