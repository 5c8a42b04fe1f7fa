"""Real MCUboot firmware, from the source archive of smpclient on PyPI; fetched once, never committed."""

import fcntl
import hashlib
import struct
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.flash import ChipImage
from agent.flash.intel_hex import parse_intel_hex
from tests.flash.mcuboot import Signer, sign

ARCHIVE: Final = "smpclient-7.3.0.tar.gz"
ARCHIVE_SHA256: Final = "86aa4bc1c621805d97f449793a4077f049aa88a98a1e916bf59423d072bd2a3b"
FOLDER: Final = "smpclient-7.3.0/tests/fixtures/smp-server"
MICROBIT: Final = "zephyr_4.4.0_smp_server_0eae053d_qemu_cortex_m0_serial"
MPS2: Final = "zephyr_f33aa2bc4a43_smp_server_27c54835_mps2_an385_serial_recovery"
FILES: Final = (
    f"{MICROBIT}.merged.hex",
    f"{MICROBIT}.signed.bin",
    f"{MPS2}.hex",
    f"{MPS2}.signed.bin",
)


@dataclass(frozen=True, slots=True)
class Firmware:
    """The folder with the files."""

    folder: Path

    def hex(self, name: str) -> ChipImage:
        """What an Intel HEX file puts where."""
        return parse_intel_hex((self.folder / name).read_bytes())

    def resign(self, folder: Path, name: str, signer: Signer, *arguments: str) -> bytes:
        """The program of an image as version 1.1.0, with a signature; what is published has none."""
        content = (self.folder / f"{name}.signed.bin").read_bytes()
        (header_bytes,) = struct.unpack_from("<H", content, 8)
        (program_bytes,) = struct.unpack_from("<I", content, 12)
        program = content[header_bytes : header_bytes + program_bytes]
        return sign(
            folder,
            program,
            signer,
            version="1.1.0",
            header_bytes=header_bytes,
            arguments=arguments,
        )


def fetch_firmware(cache: Path) -> Firmware:
    """The firmware in the cache; a download that fails fails the test."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:  # several processes of one test run
        fcntl.flock(lock, fcntl.LOCK_EX)
        archive = cache / ARCHIVE
        if not archive.exists() or _sha256(archive) != ARCHIVE_SHA256:
            _download(cache)
        assert _sha256(archive) == ARCHIVE_SHA256, f"{archive}: another file than was reviewed"
        folder = cache / "files"
        folder.mkdir(exist_ok=True)
        _extract(archive, folder)
    return Firmware(folder)


def _download(cache: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--no-binary", "smpclient", "--dest", str(cache)]
    run = subprocess.run(
        [*command, "smpclient==7.3.0"], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, f"pip could not download {ARCHIVE}:\n{run.stdout}{run.stderr}"


def _extract(archive: Path, folder: Path) -> None:
    """Each file that is used, if it is the one that the archive's own list names."""
    with tarfile.open(archive) as tar:
        sums = _member(tar, "SHA256SUMS").decode().split()
        wanted = dict(zip(sums[1::2], sums[0::2], strict=True))
        for name in FILES:
            if (folder / name).exists() and _sha256(folder / name) == wanted[name]:
                continue
            content = _member(tar, name)
            assert hashlib.sha256(content).hexdigest() == wanted[name], name
            (folder / name).write_bytes(content)


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(f"{FOLDER}/{name}")
    assert member is not None, f"{FOLDER}/{name} is no file"
    return member.read()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
