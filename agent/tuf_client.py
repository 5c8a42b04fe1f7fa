"""python-tuf's client, without the part of it that fetches by itself.

`tuf.ngclient` loads urllib3, and with it what speaks HTTP and TLS, for the fetcher that it uses when it is
given none. Lockgate always gives it one. So something that cannot fetch takes the place of that module,
unless it is loaded already: a quarter of the time that a check takes to begin, and 5 MiB.
"""

import sys
from types import ModuleType
from typing import Final

FETCHER_MODULE: Final = "tuf.ngclient.urllib3_fetcher"


class Urllib3Fetcher:
    """Stands where python-tuf expects its own fetcher."""

    def __init__(self, *_: object, **__: object) -> None:
        raise AssertionError("python-tuf is always given a fetcher")


def do_without_urllib3() -> None:
    """To be called before `tuf.ngclient` is imported."""
    module = ModuleType(FETCHER_MODULE, __doc__)
    vars(module)[Urllib3Fetcher.__name__] = Urllib3Fetcher
    sys.modules.setdefault(FETCHER_MODULE, module)
