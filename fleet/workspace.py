"""The operator's folder: where everything of one fleet lies, and its `fleet.toml`.

fleet.toml     name and addresses of the fleet
keys/ROLE/     private keys, a folder for each role; may lie elsewhere, on other machines
stage/         the newest metadata, documents and blobs, signed or not yet
public/        what was published: any static HTTPS server may serve it
authority/     the device CA, and the certificates of the broker and the repository server
broker/        the mosquitto configuration
store.sqlite   what the devices reported
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import ConfigError
from agent.strict import Refusal, load_toml

SCHEMA: Final = 1
SETTINGS_BYTES_MAX: Final = 64 * 1024
SETTINGS_FILE: Final = "fleet.toml"


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """What `fleet.toml` says."""

    name: str
    broker_host: str
    broker_port: int
    repository_url: str


@dataclass(frozen=True, slots=True)
class Workspace:
    """The paths inside one operator's folder."""

    root: Path

    @property
    def settings_file(self) -> Path:
        """Name and addresses of the fleet."""
        return self.root / SETTINGS_FILE

    @property
    def keys(self) -> Path:
        """Private keys, a folder for each role."""
        return self.root / "keys"

    @property
    def stage(self) -> Path:
        """The newest metadata, documents and blobs, signed or not yet."""
        return self.root / "stage"

    @property
    def public(self) -> Path:
        """What was published."""
        return self.root / "public"

    @property
    def authority(self) -> Path:
        """The device CA, and the certificates of the servers."""
        return self.root / "authority"

    @property
    def broker(self) -> Path:
        """The mosquitto configuration."""
        return self.root / "broker"

    @property
    def store(self) -> Path:
        """The SQLite file of what the devices reported."""
        return self.root / "store.sqlite"

    def settings(self) -> FleetSettings:
        """Read `fleet.toml`. Raises `ConfigError`."""
        refusal = Refusal(ConfigError, str(self.settings_file))
        try:
            content = self.settings_file.read_bytes()
        except FileNotFoundError:
            refusal.raise_it(
                "", "not found; run `lockgate-fleet init` here, or name a folder with --dir"
            )
        except OSError as error:
            refusal.raise_it("", f"cannot be read: {error.strerror}")
        fields = load_toml(content, length_max=SETTINGS_BYTES_MAX, refusal=refusal)
        fields.integer("schema", SCHEMA, SCHEMA)
        broker = fields.table("broker")
        repository = fields.table("repository")
        settings = FleetSettings(
            name=fields.name("name"),
            broker_host=broker.text("host"),
            broker_port=broker.integer("port", 1, 65535),
            repository_url=repository.text("url"),
        )
        for table_read in (broker, repository, fields):
            table_read.done()
        return settings

    def write_settings(self, settings: FleetSettings) -> None:
        """Write `fleet.toml` anew."""
        self.settings_file.write_text(
            f"schema = {SCHEMA}\n"
            f'name = "{settings.name}"\n\n'
            "[broker]\n"
            f'host = "{settings.broker_host}"\n'
            f"port = {settings.broker_port}\n\n"
            "[repository]\n"
            f'url = "{settings.repository_url}"\n'
        )
