"""The keys of a microcontroller's table with `protocol = "mcumgr"`. Pure; `docs/microcontrollers.md`."""

from typing import Final

from agent.errors import ConfigError
from agent.flash.mcuboot_image import PublicKey, load_public_key
from agent.flash.mcumgr import McumgrSettings, Way
from agent.flash.smp_images import BUFFER_BYTES_MAX, BUFFER_BYTES_MIN, UNDER_WAY_MAX
from agent.interfaces import LineSettings
from agent.strict import Fields

BAUD_MAX: Final = 4_000_000
IMAGES_MAX: Final = 16
SECURITY_COUNTER_MAX: Final = (1 << 32) - 1
KEYS_MAX: Final = 8


def parse_mcumgr(fields: Fields) -> McumgrSettings:
    """Take the protocol's own keys from the table."""
    way = Way(fields.choice("way", *Way))
    answers = fields.boolean("answers_after_start", default=True)
    if way is Way.APPLICATION and not answers:
        fields.refuse("answers_after_start", "true was expected where the application is the way")
    return McumgrSettings(
        way=way,
        keys=_keys(fields),
        line=LineSettings(fields.integer("baud", 1200, BAUD_MAX, default=115_200)),
        image=fields.integer("image", 0, IMAGES_MAX, default=0),
        security_counter_min=fields.integer(
            "security_counter_min", 0, SECURITY_COUNTER_MAX, default=0
        ),
        buffer_bytes=fields.integer(
            "buffer_bytes", BUFFER_BYTES_MIN, BUFFER_BYTES_MAX, default=384
        ),
        requests_under_way=fields.integer("requests_under_way", 1, UNDER_WAY_MAX, default=1),
        answers_after_start=answers,
        quiet_s=fields.integer("quiet_s", 1, 60, default=1),
        reboot_s=fields.integer("reboot_s", 5, 600, default=60),
    )


def _keys(fields: Fields) -> tuple[PublicKey, ...]:
    """Public keys, each as the one long line between the first and the last of its PEM file."""
    texts = fields.texts("keys", length_max=KEYS_MAX)
    if not texts:
        fields.refuse("keys", "at least one public key was expected: images are checked with it")
    return tuple(_key(fields, text) for text in texts)


def _key(fields: Fields, text: str) -> PublicKey:
    pem = f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"
    try:
        return load_public_key(pem.encode(), "keys")
    except ConfigError as error:
        fields.refuse("keys", f"the base64 line of a public key was expected: {error}")
