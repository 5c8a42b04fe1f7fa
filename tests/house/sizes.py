"""How long files and functions may be; `python -m tests.house.sizes` prints where the tree stands."""

from statistics import median
from typing import Final

from tests.house.calls import functions
from tests.house.sources import PACKAGES, Source, sources

FILE_LINES_MAX: Final = 400
FILE_LINES_MEDIAN_MAX: Final = 160
FUNCTION_LINES_MAX: Final = 60
FUNCTION_LINES_MEDIAN_MAX: Final = 16
NEARLY_EMPTY_LINES: Final = 5
"""Files that only mark a package say nothing about how long files are."""


def lines(source: Source) -> int:
    """How many lines a file has."""
    return source.text.count("\n")


def long_files(source: Source) -> list[str]:
    """A file that nobody reads in one go."""
    if lines(source) <= FILE_LINES_MAX:
        return []
    return [f"{source.path}: {lines(source)} lines, at most {FILE_LINES_MAX} were expected"]


def function_lines(source: Source) -> dict[str, int]:
    """The length of each function, by its place."""
    return {
        f"{source.path}:{function.lineno} {function.name}": (function.end_lineno or 0)
        - function.lineno
        + 1
        for function in functions(source)
    }


def long_functions(source: Source) -> list[str]:
    """A function that does more than one thing."""
    return [
        f"{place}: {length} lines, at most {FUNCTION_LINES_MAX} were expected"
        for place, length in function_lines(source).items()
        if length > FUNCTION_LINES_MAX
    ]


def file_median(files: tuple[Source, ...]) -> float:
    """The median length of the files that have something in them."""
    return median([lines(source) for source in files if lines(source) >= NEARLY_EMPTY_LINES] or [0])


def function_median(files: tuple[Source, ...]) -> float:
    """The median length of all functions."""
    return median([n for source in files for n in function_lines(source).values()] or [0])


def main() -> None:
    """One line for each package."""
    for package in PACKAGES:
        files = tuple(source for source in sources() if source.folder == package)
        longest = max(files, key=lines)
        print(
            f"{package:10} {len(files):3} files, median {file_median(files):.0f} lines, "
            f"longest {longest.path} {lines(longest)}; functions: median {function_median(files):.0f}"
        )


if __name__ == "__main__":
    main()
