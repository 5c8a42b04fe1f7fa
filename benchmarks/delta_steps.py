"""The steps of the delta benchmark, each in a process of its own so that its cost can be told.

python -m benchmarks.delta_steps full IMAGE FOLDER        the full payload; prints its bytes
python -m benchmarks.delta_steps delta OLD NEW FOLDER     the delta payload; prints its bytes
python -m benchmarks.delta_steps install OLD NEW FOLDER   what a device does; prints what it fetched

The later steps find what the earlier ones left in FOLDER.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from agent.install import Job, Meter, install
from agent.linux.block_device import LinuxBlockDevice
from agent.release import Image, Payload
from benchmarks.mirror import Mirror
from benchmarks.pair import installation_of


def _note(folder: Path, image: Path) -> Path:
    return folder / f"{image.stem}.json"


def _load(folder: Path, image: Path) -> Image:
    document = json.loads(_note(folder, image).read_text())
    document["payloads"] = tuple(Payload(**one) for one in document["payloads"])
    return Image(**document)


def _store(folder: Path, path: Path, image: Image) -> None:
    _note(folder, path).write_text(json.dumps(asdict(image)))


def full(path: Path, folder: Path) -> int:
    """Encode one image on its own."""
    from fleet.payload import Encoding, encode_full, slot_image  # noqa: PLC0415  # a device has no fleet

    with path.open("rb") as file:
        made = encode_full(file, folder, Encoding(), lambda: None)
    image = slot_image(made, "board", "root")
    _store(folder, path, image)
    return made.payload.length_bytes


def delta(old: Path, new: Path, folder: Path) -> int:
    """Encode the new image against the old one."""
    from fleet.delta.encode import encode_delta  # noqa: PLC0415  # a device has no fleet, nor numpy
    from fleet.delta.pair import FullImage, Pair  # noqa: PLC0415  # goes with it

    base, image = _load(folder, old), _load(folder, new)
    ends = [FullImage(one, one.payloads[0], folder / one.payloads[0].blob) for one in (base, image)]
    made = encode_delta(Pair(*ends), folder, 0, lambda _done, _total: None)
    if made is None:
        return image.payloads[0].length_bytes
    both = (image.payloads[0], made)
    _store(folder, new, replace(image, payloads=both))
    return made.length_bytes


def installed(old: Path, new: Path, folder: Path) -> int:
    """Install the new image beside the old one."""
    image = _load(folder, new)
    standby = folder / "standby"
    with standby.open("wb") as file:
        file.truncate(image.length_bytes)
    installation = installation_of(image)
    slots = LinuxBlockDevice(str(standby)), LinuxBlockDevice(str(old))
    meter = Meter()
    install((Job(installation, *slots),), Mirror(folder), meter, lambda: None)
    standby.unlink()
    return meter.fetched_bytes


def main() -> None:
    """Do one step and print its number of bytes."""
    step, *paths = sys.argv[1], *(Path(text) for text in sys.argv[2:])
    steps = {"full": full, "delta": delta, "install": installed}
    sys.stdout.write(f"{steps[step](*paths)}\n")  # type: ignore[operator]  # as many paths as it takes


if __name__ == "__main__":
    main()
