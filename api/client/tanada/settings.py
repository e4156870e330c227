"""Where the catalog is and which key opens it: flags, else environment, else the login file.

The one place of the client that reads the environment and the clock.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tanada.errors import WrongUseError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_URL: Final = "http://127.0.0.1:8000"
_LOGIN: Final = "tanada login --url URL"


@dataclass(frozen=True, slots=True)
class Login:
    """Address of a catalog and a key to it. The key never shows in a repr."""

    url: str
    key: str = field(repr=False)


def environment() -> Mapping[str, str]:
    """The environment of this process."""
    return os.environ


def now_ns() -> int:
    """Nanoseconds UTC."""
    return time.time_ns()


def login_file(environ: Mapping[str, str]) -> Path:
    """Where `tanada login` keeps url and key: `TANADA_CONFIG`, else the user's config folder."""
    if named := environ.get("TANADA_CONFIG"):
        return Path(named)
    base = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "tanada" / "login.json"


def find_login(environ: Mapping[str, str], url: str | None = None, key: str | None = None) -> Login:
    """The login to use: arguments win over `TANADA_URL` and `TANADA_KEY`, these over the file.

    A key from the file is only ever sent to the address that it was stored with.

    Raises:
        WrongUseError: no key anywhere, or the login file is unreadable.
    """
    stored = _stored(login_file(environ))
    url = url or environ.get("TANADA_URL") or (stored.url if stored else DEFAULT_URL)
    url = checked_url(url)
    key = key or environ.get("TANADA_KEY")
    if not key and stored is not None and stored.url == url:
        key = stored.key
    if not key:
        raise WrongUseError(f"no key for {url}", next_step=f"{_LOGIN}, or set TANADA_KEY")
    return Login(url, key)


def checked_url(url: str) -> str:
    """The address without a slash at its end.

    Raises:
        WrongUseError: it is no http(s) address.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise WrongUseError(
            f"{url!r} is not the address of a catalog", next_step="give http(s)://HOST[:PORT]"
        )
    return url.rstrip("/")


def save_login(path: Path, login: Login) -> None:
    """Write the login file, readable by its owner only.

    Raises:
        WrongUseError: it cannot be written.
    """
    text = json.dumps({"url": login.url, "key": login.key}, indent=1) + "\n"
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(path)
    except OSError as error:
        raise WrongUseError(
            f"{path} cannot be written: {error.strerror}", next_step="set TANADA_CONFIG"
        ) from error


def _stored(path: Path) -> Login | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Login(str(document["url"]), str(document["key"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WrongUseError(f"{path} is not a login file", next_step=_LOGIN) from error
