"""Everything that is measured beside other updaters, in one run on one machine.

    python -m benchmarks.bench                        a small pair of images, made on the spot; minutes
    python -m benchmarks.bench --images DIR           DIR/v1.ext4 and DIR/v1.squashfs against all others
    python -m benchmarks.bench growth --images DIR    images that are made there, up to 4 GiB
    python -m benchmarks.bench --images DIR encode --pair release.ext4 --tool xdelta3     one step of it

What is in the results is not measured again by `encode`, whose steps take hours; all else is.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.release import Image
from benchmarks import encoders, growth, installers, profile_install, report
from benchmarks.pair import Pair
from benchmarks.rauc import RaucService
from benchmarks.rows import FOLDER, Results
from benchmarks.software import make_ext4
from benchmarks.stage import Installer, Stage, rows, stage

OLD: Final = "v1"
RUNS: Final = 3


def encode(options: argparse.Namespace, pair: Pair, results: Results) -> None:
    """What publishers make of a pair."""
    tools = [options.tool] if options.tool else list(encoders.ENCODERS)
    encoders.encode(pair, results, tools)


def full(options: argparse.Namespace, pair: Pair, results: Results) -> None:
    """The whole image onto the standby slot, beside others."""
    with stage(pair) as here:
        own = here.scratch / "rauc"
        with RaucService(pair, here.active, here.standby, own) as service:
            whole = replace(_image(pair), payloads=_image(pair).payloads[:1])
            tools = {
                "lockgate": installers.lockgate(here, whole),
                "swupdate, zstd": installers.swupdate(here),
                "rauc, plain": installers.rauc(here, service, adaptive=False),
                "pipeline, sha256sum": installers.pipeline(here, "sha256sum"),
                "pipeline, openssl": installers.pipeline(here, "openssl dgst -sha256"),
            }
            _measure(here, "full", tools, options, results)


def delta(options: argparse.Namespace, pair: Pair, results: Results) -> None:
    """The new image with the help of the old one, beside others."""
    with stage(pair) as here:
        own = here.scratch / "rauc"
        with RaucService(pair, here.active, here.standby, own) as service:
            tools = {
                "lockgate": installers.lockgate(here, _image(pair)),
                encoders.CASYNC: installers.casync(here),
                "rauc, adaptive": installers.rauc(here, service, adaptive=True),
            }
            _measure(here, "delta", tools, options, results)


def others(options: argparse.Namespace, pair: Pair, results: Results) -> None:
    """The same with tools for which one run will do."""
    with stage(pair) as here:
        tools = {
            encoders.ZCHUNK: installers.zchunk(here),
            encoders.ZSYNC: installers.zsync(here),
            encoders.XDELTA: installers.xdelta(here),
            encoders.ZSTD: installers.zstd(here),
        }
        known = {tool for tool in tools if results.find(encoders.SECTION, pair.name, tool)}
        tools = {tool: installer for tool, installer in tools.items() if tool in known}
        options = argparse.Namespace(**{**vars(options), "runs": 1})
        _measure(here, "delta", tools, options, results)


def profile(options: argparse.Namespace, pair: Pair, results: Results) -> None:
    """Where the time of both kinds of installation goes."""
    del options
    image = _image(pair)
    kinds = {"full": replace(image, payloads=image.payloads[:1]), "delta": image}
    with stage(pair) as here:
        for kind, offered in kinds.items():
            for row in profile_install.measure(here, offered, f"{pair.name}, {kind}"):
                results.put(row)


def _measure(
    here: Stage,
    section: str,
    tools: dict[str, Installer],
    options: argparse.Namespace,
    results: Results,
) -> None:
    chosen = {tool: one for tool, one in tools.items() if options.tool in ("", tool)}
    for row in rows(here, section, chosen, options.runs):
        results.put(row)


def _image(pair: Pair) -> Image:
    image = pair.image(pair.new)
    if image is None:
        raise SystemExit(f"{pair.name} was not encoded yet: run the section `encode` first")
    return image


Section = Callable[[argparse.Namespace, Pair, Results], None]
SECTIONS: Final[dict[str, Section]] = {
    "encode": encode,
    "full": full,
    "delta": delta,
    "others": others,
    "profile": profile,
}


def pairs_of(images: Path, work: Path) -> list[Pair]:
    """The old image of each kind against every other one of that kind."""
    return [
        Pair(old, new, work)
        for old in sorted(images.glob(f"{OLD}.*"))
        for new in sorted(images.glob(f"*{old.suffix}"))
        if new != old
    ]


def measure(options: argparse.Namespace, pairs: list[Pair], results: Results) -> None:
    """The sections that were asked for, of the pairs that were asked for."""
    chosen = [pair for pair in pairs if options.pair in ("", pair.name)]
    for name, section in SECTIONS.items():
        if options.section in (None, name):
            for pair in chosen:
                section(options, pair, results)


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description="updates beside those of other tools")
    parser.add_argument(
        "section", nargs="?", choices=(*SECTIONS, "growth"), help="default: all but growth"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="default: a small pair")
    parser.add_argument("--pair", default="", metavar="NAME", help="such as release.ext4")
    parser.add_argument("--tool", default="", metavar="NAME", help="one of the section's tools")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each installer (default: 3)")
    options = parser.parse_args()
    if options.section == "growth":
        with tempfile.TemporaryDirectory(prefix="lockgate-bench-", dir=options.images) as name:
            growth.measure(Path(name), Results(FOLDER / "growth.json").load())
        return
    if options.images is not None:
        images = options.images.absolute()
        results = Results(FOLDER / "debian.json").load()
        measure(options, pairs_of(images, images / "work"), results)
        return
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as name:
        folder = Path(name)
        pair = Pair(make_ext4(folder, 0), make_ext4(folder, 1), folder / "work")
        results = Results(folder / "small.json")
        measure(options, [pair], results)
        print(report.shown(results))


if __name__ == "__main__":
    main()
