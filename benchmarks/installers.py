"""How each tool puts the whole new image onto the standby slot, and where a delta helps it.

Each returns what the tool took. What it works on (archives, stores, patches) was made before.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final

from agent.release import Image
from benchmarks import device, encoders
from benchmarks.measure import Cost, run
from benchmarks.rauc import RaucService
from benchmarks.stage import Installer, Stage

DESCRIPTION: Final = """software = {{
    version = "2";
    hardware-compatibility: ["1.0"];
    images: ({{ filename = "{name}"; device = "{device}"; type = "raw"; compressed = "zstd";
        installed-directly = true; sha256 = "{sha256}"; }});
}}
"""
PIPELINE: Final = (
    'curl -sf --cacert "$0" "$1" | zstd -dcq | tee >({digest}) | dd of="$2" bs=1M iflag=fullblock '
    "conv=fsync status=none"
)
ZSYNC_SCRIPT: Final = (
    'cd "$0" && zsync -q -i "$1" -o out "$2" && dd if=out of="$3" bs=1M conv=fsync'
)
ZCHUNK_SCRIPT: Final = (
    'cd "$0" && zckdl --source "$1" "$2" && unzck "$(basename "$2")" && '
    'dd if="$3" of="$4" bs=1M conv=fsync'
)


def lockgate(stage: Stage, image: Image) -> Installer:
    """The real program on a real device."""
    device.publish(stage.fleet, image, stage.pair.blobs)
    url = stage.server.url("fleet")
    folder = stage.scratch / f"device-{len(list(stage.scratch.glob('device-*')))}"
    made = device.make(stage.fleet, url, (stage.active, stage.standby), folder)

    def install() -> Cost:
        device.publish(stage.fleet, image, stage.pair.blobs)
        return made.install().cost

    return install


def pipeline(stage: Stage, digest: str) -> Installer:
    """What anyone would type: fetch, decompress, hash, write, sync; nothing is read back."""
    served = stage.pair.served / f"{stage.pair.name}.zst"
    served.unlink(missing_ok=True)
    served.symlink_to(stage.pair.made(served.name))
    url = stage.server.url(served.name)
    script = PIPELINE.format(digest=f"{digest} >/dev/null")
    names = str(stage.authority), url, str(stage.standby)
    return lambda: run(("bash", "-o", "pipefail", "-c", script, *names))


def swupdate(stage: Stage) -> Installer:
    """SWUpdate streams a signed archive with the zstd image straight onto the device."""
    folder = stage.scratch / "swupdate"
    folder.mkdir()
    packed = stage.pair.made(f"{stage.pair.name}.zst")
    (folder / "root.zst").symlink_to(packed)
    with packed.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    text = DESCRIPTION.format(name="root.zst", device=stage.standby, sha256=sha256)
    (folder / "sw-description").write_text(text)
    key, certificate = _signer(folder, "emailProtection")
    signing = (
        "-signer",
        str(certificate),
        "-inkey",
        str(key),
        "-outform",
        "DER",
        "-nosmimecap",
        "-binary",
    )
    names = ("-in", "sw-description", "-out", "sw-description.sig")
    subprocess.run(("openssl", "cms", "-sign", *names, *signing), cwd=folder, check=True)
    with (stage.pair.served / "root.swu").open("wb") as archive:
        members = "sw-description\nsw-description.sig\nroot.zst\n"
        command = ("cpio", "--quiet", "-o", "-L", "-H", "crc")
        subprocess.run(command, cwd=folder, input=members.encode(), stdout=archive, check=True)
    options = (
        "-k",
        str(certificate),
        "-H",
        "board:1.0",
        "-d",
        f"-u {stage.server.url('root.swu')}",
    )
    return lambda: run(stage.trusting("swupdate", *options), folder=folder)


def rauc(stage: Stage, service: RaucService, *, adaptive: bool) -> Installer:
    """RAUC from a file on the local disk; what its service takes counts."""
    packed = service.packed(stage.pair, adaptive=adaptive)

    def install() -> Cost:
        return run(
            ("rauc", "install", str(packed)),
            environment=service.environment,
            services=(service.pid,),
        )

    return install


def casync(stage: Stage) -> Installer:
    """Casync with the old image as its seed; pieces over HTTPS."""
    name = stage.pair.name
    seed, store = f"--seed={stage.pair.old}", f"--store={stage.server.url(name)}.castr"
    words = (
        "casync",
        "extract",
        seed,
        store,
        f"{stage.server.url(name)}.caibx",
        str(stage.standby),
    )
    return lambda: run(stage.trusting(*words), environment={"TMPDIR": str(stage.scratch)})


def zchunk(stage: Stage) -> Installer:
    """Zchunk with the old file kept, then unpacked onto the device."""

    def install() -> Cost:
        folder = _empty(stage.scratch / "zchunk")
        source = stage.pair.made(f"{stage.pair.old.name}.zck")
        name = stage.pair.name
        words = (
            str(folder),
            str(source),
            f"{stage.server.url(name)}.zck",
            name,
            str(stage.standby),
        )
        return run(stage.trusting("sh", "-c", ZCHUNK_SCRIPT, *words))

    return install


def zsync(stage: Stage) -> Installer:
    """zsync, which knows no TLS, with a copy of the whole image on the disk."""

    def install() -> Cost:
        folder = _empty(stage.scratch / "zsync")
        url = stage.server.url(f"{stage.pair.name}.zsync", tls=False)
        words = (str(folder), str(stage.pair.old), url, str(stage.standby))
        return run(("sh", "-c", ZSYNC_SCRIPT, *words))

    return install


def xdelta(stage: Stage) -> Installer:
    """xdelta3 from a local patch, the whole old image in memory."""
    source = str(min(encoders.XDELTA_SOURCE_MAX, max(stage.pair.old.stat().st_size, 1 << 20)))
    patch = stage.pair.made(f"{stage.pair.name}.xdelta3")
    script = 'xdelta3 -q -d -c -B "$0" -s "$1" "$2" | dd of="$3" bs=1M iflag=fullblock conv=fsync'
    words = (source, str(stage.pair.old), str(patch), str(stage.standby))
    return lambda: run(("bash", "-o", "pipefail", "-c", script, *words))


def zstd(stage: Stage) -> Installer:
    """Zstd from a local patch."""
    patch = stage.pair.made(f"{stage.pair.name}.zstd-patch")
    script = 'zstd -q -d -c --long=31 --patch-from="$0" "$1" | dd of="$2" bs=1M iflag=fullblock conv=fsync'
    words = (str(stage.pair.old), str(patch), str(stage.standby))
    return lambda: run(("bash", "-o", "pipefail", "-c", script, *words))


def _signer(folder: Path, purpose: str) -> tuple[Path, Path]:
    """A key and a certificate by itself."""
    key, certificate = folder / "signer.key", folder / "signer.pem"
    extensions = ("-addext", f"extendedKeyUsage={purpose}", "-addext", "keyUsage=digitalSignature")
    names = ("-keyout", str(key), "-out", str(certificate), "-subj", "/CN=signer")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30")
    subprocess.run((*command, *names, *extensions), check=True, capture_output=True)
    return key, certificate


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
