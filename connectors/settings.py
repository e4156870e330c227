"""Settings: flags, else environment, else default; the one documented table.

The environment is passed in: only the composition roots (command line, ASGI) read it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from connectors.stores.store import Access
from schemas.errors import WrongUseError

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB: Final = 1 << 20
SECRET: Final = frozenset(
    {
        "key",
        "database_url",
        "s3_access_key",
        "s3_secret_key",
        "openlineage_url",
        "notify_webhook",
        "smtp_url",
    }
)
"""Settings that may hold a password or a token: their values are never shown."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table of settings.

    Attributes:
        name: Field of `Settings`, and flag without the dashes.
        env: Environment variable.
        default: Value when neither is given.
        doc: What it does.
    """

    name: str
    env: str
    default: str | int | None
    doc: str


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        "root",
        "TANADA_ROOT",
        "./tanada-data",
        "what holds the lake: a folder, or s3://bucket/prefix",
    ),
    Setting(
        "database_url",
        "TANADA_DATABASE_URL",
        None,
        "catalog database; default: the SQLite file catalog.db in a root that is a folder",
    ),
    Setting("url", "TANADA_URL", "http://127.0.0.1:8000", "where the server is reached"),
    Setting("key", "TANADA_KEY", None, "key of the caller, for commands that talk to a server"),
    Setting("workers", "TANADA_WORKERS", 1, "processes that decode"),
    Setting("lease_seconds", "TANADA_LEASE_SECONDS", 300, "how long a worker holds a recording"),
    Setting(
        "max_attempts",
        "TANADA_MAX_ATTEMPTS",
        3,
        "how often a recording is tried before it is parked as failed",
    ),
    Setting(
        "child_memory_bytes",
        "TANADA_CHILD_MEMORY_BYTES",
        1024 * MIB,
        "address space of the process that decodes one recording",
    ),
    Setting(
        "child_seconds",
        "TANADA_CHILD_SECONDS",
        600,
        "CPU and wall-clock seconds that decoding one recording may take",
    ),
    Setting(
        "child_output_bytes",
        "TANADA_CHILD_OUTPUT_BYTES",
        64 * 1024 * MIB,
        "largest file that decoding one recording may write",
    ),
    Setting("territory", "TANADA_TERRITORY", "JP", "country where this platform runs"),
    Setting(
        "batch_recordings", "TANADA_BATCH_RECORDINGS", 200, "recordings committed in one batch"
    ),
    Setting("s3_endpoint", "TANADA_S3_ENDPOINT", None, "URL of the object store; default: AWS"),
    Setting("s3_access_key", "TANADA_S3_ACCESS_KEY", None, "its access key"),
    Setting("s3_secret_key", "TANADA_S3_SECRET_KEY", None, "its secret key"),
    Setting("s3_region", "TANADA_S3_REGION", "us-east-1", "region of the bucket"),
    Setting(
        "secret_key_file",
        "TANADA_SECRET_KEY_FILE",
        None,
        "local file with the pepper of a lake on an object store; the same on every machine",
    ),
    Setting(
        "scratch",
        "TANADA_SCRATCH",
        None,
        "local folder for work in progress of a lake on an object store; default: the system's "
        "temporary folder",
    ),
    Setting(
        "landing",
        "TANADA_LANDING",
        None,
        "folder whose <organisation>/<robot>/<YYYY-MM-DD>/ the scheduled ingest reads",
    ),
    Setting("recipes", "TANADA_RECIPES", None, "folder of recipes that are built on schedule"),
    Setting("engine", "TANADA_ENGINE", "embedded", "what spreads decoding: embedded or spark"),
    Setting(
        "spark_master",
        "TANADA_SPARK_MASTER",
        "local[2]",
        "Spark: local[N], or spark://host:port of a cluster; executors see the root's folder, or "
        "have the TANADA_S3_* of its bucket in their environment",
    ),
    Setting(
        "spark_python",
        "TANADA_SPARK_PYTHON",
        None,
        "Spark: executors' Python, with this platform installed; default: the one that runs this",
    ),
    Setting(
        "spark_jars",
        "TANADA_SPARK_JARS",
        "infra/spark/target/jars",
        "Spark: folder of the jars of infra/spark/pom.xml",
    ),
    Setting("log_format", "TANADA_LOG_FORMAT", "text", "log lines on stderr: text or json"),
    Setting("log_level", "TANADA_LOG_LEVEL", "info", "least level that is logged"),
    Setting(
        "metrics_address",
        "TANADA_METRICS_ADDRESS",
        None,
        "host:port of a listener of its own for Prometheus; default: none",
    ),
    Setting(
        "openlineage_url",
        "TANADA_OPENLINEAGE_URL",
        None,
        "where lineage events go: http(s)://… or file:///…; default: nowhere",
    ),
    Setting("notify_webhook", "TANADA_NOTIFY_WEBHOOK", None, "URL that notices are posted to"),
    Setting(
        "notify_mail",
        "TANADA_NOTIFY_MAIL",
        None,
        "who gets notices by mail: address, or organisation=address, separated by commas",
    ),
    Setting("notify_from", "TANADA_NOTIFY_FROM", "tanada@localhost", "sender of notices by mail"),
    Setting(
        "smtp_url", "TANADA_SMTP_URL", None, "mail server: smtp[s]://[user:password@]host:port"
    ),
    Setting(
        "notify_state",
        "TANADA_NOTIFY_STATE",
        None,
        "file that remembers which notices were sent; default: notified.json in the root",
    ),
)
"""Every setting, in the order of the documentation."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The platform's settings; see `SETTINGS` for what each one does."""

    root: str = "./tanada-data"
    database_url: str | None = None
    url: str = "http://127.0.0.1:8000"
    key: str | None = None
    workers: int = 1
    lease_seconds: int = 300
    max_attempts: int = 3
    child_memory_bytes: int = 1024 * MIB
    child_seconds: int = 600
    child_output_bytes: int = 64 * 1024 * MIB
    territory: str = "JP"
    batch_recordings: int = 200
    log_format: str = "text"
    log_level: str = "info"
    metrics_address: str | None = None
    openlineage_url: str | None = None
    notify_webhook: str | None = None
    notify_mail: str | None = None
    notify_from: str = "tanada@localhost"
    smtp_url: str | None = None
    notify_state: str | None = None
    engine: str = "embedded"
    spark_master: str = "local[2]"
    spark_python: str | None = None
    spark_jars: str = "infra/spark/target/jars"
    landing: str | None = None
    recipes: str | None = None
    s3_endpoint: str | None = None
    s3_access_key: str | None = None
    s3_secret_key: str | None = None
    s3_region: str = "us-east-1"
    secret_key_file: str | None = None
    scratch: str | None = None

    @property
    def access(self) -> Access:
        """How a root in an object store is reached."""
        return Access(
            endpoint=self.s3_endpoint or "",
            access_key=self.s3_access_key or "",
            secret_key=self.s3_secret_key or "",
            region=self.s3_region,
            secret_key_file=self.secret_key_file,
            scratch=self.scratch,
        )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **flags: str | int | None) -> Settings:
        """Settings from flags (None = not given), else the environment, else the defaults.

        Raises:
            WrongUseError: a number is none, or not positive; or a flag is unknown.
        """
        known = {setting.name for setting in SETTINGS}
        if unknown := sorted(flags.keys() - known):
            raise WrongUseError("no such setting", subject=", ".join(unknown))
        values: dict[str, str | int | None] = {}
        for setting in SETTINGS:
            given = flags.get(setting.name)
            if given is None:
                given = environ.get(setting.env) or None
            if given is None:
                given = setting.default
            elif isinstance(setting.default, int):
                given = _positive(setting, given)
            values[setting.name] = given
        return cls(**values)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        # A database's URL may hold a password.
        shown = (
            f"{f.name}={'***' if f.name in SECRET and value else repr(value)}"
            for f in fields(self)
            for value in (getattr(self, f.name),)
        )
        return f"Settings({', '.join(shown)})"


def _positive(setting: Setting, given: str | int) -> int:
    try:
        value = int(given)
    except ValueError:
        value = 0
    if value < 1:
        raise WrongUseError(
            f"setting {setting.name} needs a whole number of at least 1",
            subject=setting.env,
            found=str(given)[:40],
        )
    return value
