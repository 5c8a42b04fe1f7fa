"""One microcontroller's table of the board profile: its protocol, its entry, and the flasher for both.

A new protocol is a case in `parse_chip` and one in `make_flasher`; `docs/microcontrollers.md` has the keys.
"""

from dataclasses import dataclass
from typing import Final, assert_never

from agent.errors import FlashImageError, FlashRefusedError
from agent.flash import ChipImage, Flasher, Recovery
from agent.flash.entry import (
    EntrySettings,
    GpioEntry,
    NoEntry,
    needs_firmware,
    parse_entry,
)
from agent.flash.esptool import CHIPS, FLASH_BYTES_MAX, SECTOR_BYTES, Esptool, EsptoolSettings
from agent.flash.image_file import ImageFormat, raw_image
from agent.flash.intel_hex import parse_intel_hex
from agent.flash.mcuboot_image import check_image
from agent.flash.mcumgr import McumgrFlasher, McumgrSettings
from agent.flash.mcumgr_settings import parse_mcumgr
from agent.flash.pages import parse_layout
from agent.flash.srec import parse_srec
from agent.flash.stk500v1 import FLASH_END_MAX, Stk500Settings, Stk500v1
from agent.flash.stm32_commands import Join
from agent.flash.stm32_uart import Stm32Settings, Stm32Uart
from agent.interfaces import LineSettings, Parity, SerialLine
from agent.strict import Fields

ProtocolSettings = Stm32Settings | Stk500Settings | McumgrSettings | EsptoolSettings
BAUD_MAX: Final = 4_000_000
AVR_PAGES: Final = (32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class ChipSettings:
    """All that is needed to flash one microcontroller.

    `port` is a device or an address such as `socket://10.0.0.7:2000`. `allow_fragile` is the owner's word
    that a power cut may leave a chip that only hands bring back. A raw image begins at `image_start`.
    """

    port: str
    protocol: ProtocolSettings
    entry: EntrySettings
    image_format: ImageFormat
    image_start: int
    allow_fragile: bool

    @property
    def line(self) -> LineSettings:
        """The characters on the line while the bootloader is spoken to."""
        return self.protocol.line


def parse_chip(fields: Fields) -> ChipSettings:
    """The settings in one table; its `Refusal` says whose fault it is."""
    protocol: ProtocolSettings
    match fields.choice("protocol", "stm32-uart", "stk500v1", "mcumgr", "esptool"):
        case "stm32-uart":
            protocol = _stm32(fields)
            start = protocol.flash.start
        case "esptool":
            return _esptool(fields)
        case "mcumgr":
            protocol = parse_mcumgr(fields)
            start = 0
        case _:
            protocol = _stk500(fields)
            start = 0
    image_format = ImageFormat(fields.choice("image_format", *ImageFormat))
    settings = ChipSettings(
        port=fields.text("port", length_max=256),
        protocol=protocol,
        entry=parse_entry(fields.table("entry")),
        image_format=image_format,
        image_start=fields.integer("image_start", 0, (1 << 32) - 1, default=start),
        allow_fragile=fields.boolean("allow_fragile", default=False),
    )
    fields.done()
    return settings


def make_flasher(settings: ChipSettings, line: SerialLine) -> Flasher:
    """The flasher for this chip on this line; nothing is sent yet."""
    match settings.protocol:
        case Stm32Settings():
            return Stm32Uart(line, settings.protocol)
        case Stk500Settings():
            return Stk500v1(line, settings.protocol)
        case McumgrSettings():
            return McumgrFlasher(line, settings.protocol)
        case EsptoolSettings():
            return Esptool(line, settings.protocol)
        case never:
            assert_never(never)


def parse_image(content: bytes, settings: ChipSettings) -> ChipImage:
    """The image in a file of the chip's format. Raises `FlashImageError`."""
    match settings.image_format:
        case ImageFormat.RAW:
            return raw_image(content, settings.image_start)
        case ImageFormat.INTEL_HEX:
            return parse_intel_hex(content)
        case ImageFormat.SREC:
            return parse_srec(content)
        case never:
            assert_never(never)


def check_image_fits(image: ChipImage, settings: ChipSettings) -> None:
    """See without the chip that it may be sent this. Raises `FlashImageError`, `TrustError`."""
    match settings.protocol:
        case Stm32Settings() as stm32:
            stm32.flash.check_fits(image)
        case Stk500Settings() as stk500:
            if image.regions[-1].end > stk500.boot_start:
                raise FlashImageError(
                    f"an image below the boot section at {stk500.boot_start:#x} was expected, "
                    f"it ends at {image.regions[-1].end:#x}"
                )
        case EsptoolSettings() as esptool:
            if image.regions[-1].end > esptool.flash_bytes:
                raise FlashImageError(
                    f"an image that ends before {esptool.flash_bytes:#x} was expected, it ends at "
                    f"{image.regions[-1].end:#x}"
                )
        case McumgrSettings() as mcumgr:
            content = image.regions[0].content
            check_image(content, mcumgr.keys, security_counter_min=mcumgr.security_counter_min)
        case never:
            assert_never(never)


def flash_start(settings: ChipSettings) -> int:
    """The first address of the flash that images may use."""
    match settings.protocol:
        case Stm32Settings() as stm32:
            return stm32.flash.start
        case Stk500Settings() | McumgrSettings() | EsptoolSettings():
            return 0
        case never:
            assert_never(never)


def recovery(settings: ChipSettings, flasher: Flasher) -> Recovery:
    """What a power cut leaves, protocol and entry together.

    A bootloader that cannot be harmed is of no use when only working firmware lets anyone in.
    """
    if flasher.recovery is Recovery.ROM and needs_firmware(settings.entry):
        return Recovery.FRAGILE
    return flasher.recovery


def check_recovery(settings: ChipSettings, flasher: Flasher) -> None:
    """Raises `FlashRefusedError` for a chip that a cut may put out of reach, unless its owner allows it."""
    if recovery(settings, flasher) is Recovery.FRAGILE and not settings.allow_fragile:
        raise FlashRefusedError(
            "an entry by wires (lines or gpio) was expected: through the firmware alone a power cut may "
            "leave no way in; wire it, or set allow_fragile = true"
        )


def _stm32(fields: Fields) -> Stm32Settings:
    return Stm32Settings(
        chip=_hexadecimal(fields, "chip", 4),
        flash=parse_layout(fields),
        baud=fields.integer("baud", 1200, BAUD_MAX, default=115_200),
        parity=Parity(fields.choice("parity", *Parity) if "parity" in fields else Parity.EVEN),
        skip_unchanged=fields.boolean("skip_unchanged", default=True),
        join_steps=Join(
            fields.choice("join_steps", *Join) if "join_steps" in fields else Join.ADDRESSES
        ),
    )


def _esptool(fields: Fields) -> ChipSettings:
    """All of the table: the image is raw, and the program has its own way in by DTR and RTS."""
    chip = fields.choice("chip", *CHIPS)
    flash_bytes = fields.integer("flash_bytes", SECTOR_BYTES, FLASH_BYTES_MAX)
    baud = fields.integer("baud", 1200, BAUD_MAX, default=115_200)
    stub = fields.boolean("stub", default=False)
    fields.choice("image_format", ImageFormat.RAW)
    start = fields.integer("image_start", 0, flash_bytes, default=0)
    if start % SECTOR_BYTES:
        fields.refuse("image_start", f"a multiple of {SECTOR_BYTES} was expected, {start} found")
    entry = parse_entry(fields.table("entry"))
    if not isinstance(entry, NoEntry | GpioEntry):
        fields.refuse("entry", "gpio was expected, or none for esptool's own way by DTR and RTS")
    settings = ChipSettings(
        port=fields.text("port", length_max=256),
        protocol=EsptoolSettings(chip, flash_bytes, baud, isinstance(entry, NoEntry), stub),
        entry=entry,
        image_format=ImageFormat.RAW,
        image_start=start,
        allow_fragile=fields.boolean("allow_fragile", default=False),
    )
    fields.done()
    return settings


def _stk500(fields: Fields) -> Stk500Settings:
    page_bytes = fields.integer("page_bytes", AVR_PAGES[0], AVR_PAGES[-1])
    if page_bytes not in AVR_PAGES:
        fields.refuse("page_bytes", f"one of {AVR_PAGES} was expected, {page_bytes} found")
    boot_start = fields.integer("boot_start", page_bytes, FLASH_END_MAX)
    if boot_start % page_bytes:
        fields.refuse("boot_start", f"a multiple of page_bytes was expected, {boot_start} found")
    return Stk500Settings(
        signature=_hexadecimal(fields, "signature", 6),
        page_bytes=page_bytes,
        boot_start=boot_start,
        baud=fields.integer("baud", 1200, BAUD_MAX, default=115_200),
        skip_unchanged=fields.boolean("skip_unchanged", default=True),
    )


def _hexadecimal(fields: Fields, key: str, length: int) -> str:
    text = fields.text(key)
    if len(text) != length or not set(text) <= set("0123456789abcdef"):
        fields.refuse(key, f"{length} lower-case hexadecimal digits were expected, {text!r} found")
    return text
