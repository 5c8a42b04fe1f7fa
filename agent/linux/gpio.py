"""`GpioPins` by libgpiod 2, for boards that wire a chip's reset and boot pins to the computer.

The library is the extra `lockgate[gpio]`, loaded when the first pin is set.
"""

import importlib
from typing import Any, Final

from agent.errors import FlashLineError, FlashRefusedError

CONSUMER: Final = "lockgate"


class LinuxGpioPins:
    """Pins named as `gpiochip0/17`; a pin that is driven is held until it is released."""

    def __init__(self, library: str = "gpiod") -> None:
        self._library = library
        self._requests: dict[str, Any] = {}

    def set(self, pin: str, *, high: bool) -> None:
        """Drive a pin. Raises `FlashLineError`, and `FlashRefusedError` without the library."""
        gpiod = self._load()
        chip, _, offset = pin.partition("/")
        if not chip or not offset.isdecimal():
            raise FlashLineError(f"a pin like gpiochip0/17 was expected, {pin!r} found")
        value = gpiod.line.Value.ACTIVE if high else gpiod.line.Value.INACTIVE
        try:
            if pin in self._requests:
                self._requests[pin].set_value(int(offset), value)
                return
            settings = gpiod.LineSettings(direction=gpiod.line.Direction.OUTPUT, output_value=value)
            self._requests[pin] = gpiod.request_lines(
                f"/dev/{chip}", consumer=CONSUMER, config={int(offset): settings}
            )
        except OSError as error:
            raise FlashLineError(f"{pin}: a free GPIO pin was expected: {error}") from error

    def release(self, pin: str) -> None:
        """Stop driving a pin."""
        request = self._requests.pop(pin, None)
        if request is not None:
            request.release()

    def _load(self) -> Any:  # noqa: ANN401  # an optional library without types
        try:
            return importlib.import_module(self._library)
        except ImportError as error:
            raise FlashRefusedError(
                f"the library {self._library} was expected for entry by GPIO: install lockgate[gpio]"
            ) from error
