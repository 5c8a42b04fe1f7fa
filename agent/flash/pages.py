"""The flash of a chip as its data sheet lists it: where it begins, its pages or sectors in order. Pure."""

from dataclasses import dataclass
from typing import Final

from agent.errors import FlashImageError
from agent.flash import ChipImage
from agent.strict import Fields

PAGES_MAX: Final = 4096
PAGE_BYTES_MIN: Final = 64
PAGE_BYTES_MAX: Final = 1024 * 1024
FLIPPED_MAX: Final = 2


def may_be_noise(found: bytes, wanted: bytes) -> bool:
    """Whether what was read differs so little that the line may have done it: worth reading again."""
    if len(found) != len(wanted):
        return False
    return 0 < sum(one != other for one, other in zip(found, wanted, strict=True)) <= FLIPPED_MAX


@dataclass(frozen=True, slots=True)
class FlashLayout:
    """Where flash begins, and the sizes of its pages; a page is what is erased as one."""

    start: int
    pages: tuple[int, ...]

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + sum(self.pages)

    def spans(self) -> list[tuple[int, int]]:
        """First address and first address behind, page by page."""
        spans: list[tuple[int, int]] = []
        place = self.start
        for size in self.pages:
            spans.append((place, place + size))
            place += size
        return spans

    def check_fits(self, image: ChipImage) -> None:
        """Raises `FlashImageError` for an image that leaves this flash."""
        first, last = image.regions[0].start, image.regions[-1].end
        if first < self.start or last > self.end:
            raise FlashImageError(
                f"an image between {self.start:#x} and {self.end:#x} was expected, "
                f"{first:#x} to {last:#x} found"
            )


def parse_layout(fields: Fields) -> FlashLayout:
    """The keys `flash_start` and `pages`, a list of tables with `count` and `size_bytes`."""
    pages: list[int] = []
    for row in fields.tables("pages", length_max=64):
        count = row.integer("count", 1, PAGES_MAX)
        size = row.integer("size_bytes", PAGE_BYTES_MIN, PAGE_BYTES_MAX)
        if size & (size - 1):
            row.refuse("size_bytes", f"a power of two was expected, {size} found")
        row.done()
        pages += [size] * count
    if not 0 < len(pages) <= PAGES_MAX:
        fields.refuse("pages", f"1 to {PAGES_MAX} pages were expected, {len(pages)} found")
    return FlashLayout(fields.integer("flash_start", 0, (1 << 32) - 1), tuple(pages))
