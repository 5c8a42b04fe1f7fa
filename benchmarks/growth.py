"""How cost grows: with the size of an image, and with the share of it that changed.

The images are made here: one window in eight has content that half compresses, the others are zeros, as in
a partition with room to spare. What changed is spread over all of the content, in blocks of 4 KiB.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import encoders, installers
from benchmarks.measure import Cost, run
from benchmarks.pair import Pair
from benchmarks.rows import Results, Row, with_cost
from benchmarks.stage import rows, stage

SECTION: Final = "growth"
TOOLS: Final = ("encode full", "encode delta", "install full", "install delta")
MIB: Final = 1024 * 1024
SIZES_MIB: Final = (64, 256, 1024, 4096)
USUAL_SHARE: Final = 0.1
SHARES: Final = (0.001, 0.01, 0.1, 1.0)
USUAL_MIB: Final = 256
FILLED_EVERY: Final = 8
SPARSE: Final = "sparse"
SPARSE_EVERY: Final = 128
WINDOW_BYTES: Final = 256 * 1024
BLOCK_BYTES: Final = 4096
SYMBOLS: Final = 48
"""Of 256: what makes a byte compress to about seven tenths."""


def points() -> list[tuple[int, float]]:
    """Size in MiB and share changed, each pair once."""
    sizes = [(size, USUAL_SHARE) for size in SIZES_MIB]
    return sizes + [(USUAL_MIB, share) for share in SHARES if share != USUAL_SHARE]


def name_of(size_mib: int, share: float) -> str:
    """The pair's name in the results."""
    return f"{size_mib} MiB, {share:.1%} changed"


def make_pair(
    folder: Path, size_mib: int, share: float, filled_every: int = FILLED_EVERY
) -> tuple[Pair, int]:
    """Both images of a point, as sparse files; and how many bytes of the new one changed."""
    folder.mkdir(parents=True, exist_ok=True)
    old, new = folder / "old.img", folder / "new.img"
    chance = np.random.default_rng(size_mib)
    changed = 0
    with old.open("wb") as one, new.open("wb") as other:
        for start in range(0, size_mib * MIB, filled_every * WINDOW_BYTES):
            content = chance.integers(0, SYMBOLS, WINDOW_BYTES, np.uint8)
            blocks = content.reshape(-1, BLOCK_BYTES).copy()
            picked = chance.random(len(blocks)) < share
            blocks[picked] = chance.integers(0, SYMBOLS, (int(picked.sum()), BLOCK_BYTES), np.uint8)
            changed += int(picked.sum()) * BLOCK_BYTES
            for file, filled in ((one, content), (other, blocks)):
                file.seek(start)
                file.write(filled.tobytes())
        for file in (one, other):
            file.truncate(size_mib * MIB)
    return Pair(old, new, folder / "work"), changed


def measure_point(folder: Path, size_mib: int, share: float, results: Results) -> None:
    """Encode and install one pair; four rows."""
    pair, changed = make_pair(folder, size_mib, share)
    row = Row(
        SECTION, name_of(size_mib, share), "", image_bytes=size_mib * MIB, changed_bytes=changed
    )
    for tool, encoder in zip(TOOLS, (encoders.full, encoders.delta), strict=False):
        length_bytes, cost = encoder(pair)
        results.put(_row(row, tool, length_bytes, cost))
    image = pair.image(pair.new)
    if image is None:
        raise SystemExit("the encoder left no note")
    payloads = dict(zip(TOOLS[2:], (image.payloads[:1], image.payloads), strict=True))
    with stage(pair, noise=False) as here:
        for tool, offered in payloads.items():
            installer = installers.lockgate(here, replace(image, payloads=offered))
            for found in rows(here, SECTION, {tool: installer}, 1):
                results.put(
                    replace(
                        found, pair=row.pair, image_bytes=row.image_bytes, changed_bytes=changed
                    )
                )


def measure_sparse(folder: Path, results: Results) -> None:
    """Install an image of 4 GiB in which hardly anything is: what an installation keeps in memory."""
    pair, _ = make_pair(folder, SIZES_MIB[-1], USUAL_SHARE, SPARSE_EVERY)
    pair.blobs.mkdir(parents=True)
    run((*encoders.STEPS, "full", str(pair.new), str(pair.blobs)), folder=encoders.ROOT)
    image = pair.image(pair.new)
    if image is None:
        raise SystemExit("the encoder left no note")
    with stage(pair, noise=False) as here:
        installer = installers.lockgate(here, image)
        for found in rows(here, SPARSE, {"install full": installer}, 1):
            results.put(
                replace(found, pair=f"{SIZES_MIB[-1]} MiB", image_bytes=SIZES_MIB[-1] * MIB)
            )


def _row(row: Row, tool: str, length_bytes: int | None, cost: Cost) -> Row:
    return with_cost(replace(row, tool=tool, length_bytes=length_bytes), cost)


def measure(work: Path, results: Results, sizes_mib: tuple[int, ...] = SIZES_MIB) -> None:
    """All points up to the largest of these sizes, and the sparse image."""
    measure_sparse(work / "sparse", results)
    run(("rm", "-rf", str(work / "sparse")))
    for size_mib, share in points():
        if size_mib in sizes_mib:
            folder = work / "growth"
            run(("rm", "-rf", str(folder)))
            measure_point(folder, size_mib, share, results)
            run(("rm", "-rf", str(folder)))


def _line(results: Results, tool: str) -> list[tuple[float, float]]:
    """Size in GiB and CPU seconds of the points with the usual share."""
    names = ((size, name_of(size, USUAL_SHARE)) for size in SIZES_MIB)
    rows = ((size, results.find(SECTION, name, tool)) for size, name in names)
    return [(size / 1024, row.cpu_s or 0.0) for size, row in rows if row is not None]


def fits(results: Results) -> dict[str, tuple[float, float, float]]:
    """For each tool CPU seconds for each GiB, what it begins with, and the largest relative distance."""
    found = {}
    for tool in TOOLS:
        points_ = _line(results, tool)
        if len(points_) < 2:
            continue
        sizes, seconds = np.array(points_).T
        slope, start = np.polyfit(sizes, seconds, 1)
        off = np.abs(slope * sizes + start - seconds) / seconds
        found[tool] = (float(slope), float(start), float(off.max()))
    return found


def draw(results: Results, path: Path) -> None:
    """CPU seconds by size, on logarithmic scales: a line that is straight and steep by one is linear."""
    from matplotlib import rcParams  # noqa: PLC0415  # takes a second to load
    from matplotlib.figure import Figure  # noqa: PLC0415  # goes with it

    rcParams["svg.hashsalt"] = SECTION
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for tool in TOOLS:
        if line := _line(results, tool):
            sizes, seconds = zip(*line, strict=True)
            axes.plot(sizes, seconds, marker="o", label=tool)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("image, GiB")
    axes.set_ylabel("processor seconds")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
