"""The catalog as an object: search, look, pull, follow recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from tanada import settings
from tanada.pull import Wanted, pull, release_path
from tanada.release import Release
from tanada.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Catalog:
    """One catalog, opened with a key.

    Args:
        url: Its address; default: `TANADA_URL`, else the one stored by `tanada login`.
        key: A key; default: `TANADA_KEY`, else the one stored with that address.

    Raises:
        WrongUseError: no key is found.
    """

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        self.wire = Wire(settings.find_login(settings.environment(), url, key))

    def close(self) -> None:
        """Close the connections."""
        self.wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Catalog({self.wire.url!r})"

    def me(self) -> dict[str, Any]:
        """Who the key belongs to: member, organisation, roles."""
        return self.wire.json("GET", "/v1/me")

    def search(
        self, words: str = "", *, sector: str | None = None, purpose: str | None = None
    ) -> list[dict[str, Any]]:
        """Datasets that this key may see, all pages of them."""
        query = {"q": words or None, "sector": sector, "purpose": purpose}
        return list(self._pages("/v1/datasets", query))

    def dataset(self, dataset: str, purpose: str | None = None) -> dict[str, Any]:
        """One dataset: what it is, its newest version, and what may be done with it."""
        query = {} if purpose is None else {"purpose": purpose}
        return self.wire.json("GET", f"/v1/datasets/{quote(dataset, safe='')}", params=query)

    def release(self, name: str, purpose: str) -> dict[str, Any]:
        """What a release (`DATASET` or `DATASET@VERSION`) holds, its terms and obligations."""
        wanted = Wanted.parse(name)
        path = release_path(wanted.dataset, wanted.version)
        return self.wire.json("GET", path, params={"purpose": purpose})

    def pull(
        self,
        name: str,
        *,
        purpose: str,
        to: str | Path,
        progress: Callable[[str, int, int], None] = lambda _path, _more, _total: None,
    ) -> Release:
        """Bring a release into a folder, resuming what is there; prove every byte.

        Args:
            name: `DATASET` or `DATASET@VERSION`.
            purpose: What it is for, as the terms name it.
            to: Folder.
            progress: Told `(path, bytes more, bytes in all)`.

        Raises:
            RefusedError: the terms do not allow it; its `rules` say why.
            DamagedError: what arrived is not what the catalog says.
        """
        folder = Path(to)
        wanted = Wanted.parse(name)
        pull(self.wire, wanted, purpose, folder, clock=settings.now_ns, progress=progress)
        return Release(folder)

    def recordings(self, state: str | None = None) -> list[dict[str, Any]]:
        """Recordings of the key's organisation, newest first, all pages of them."""
        return list(self._pages("/v1/recordings", {"state": state}))

    def recording(self, recording: str) -> dict[str, Any]:
        """One recording: state, verdict, reasons, history, releases that hold it."""
        return self.wire.json("GET", f"/v1/recordings/{quote(recording, safe='')}")

    def uses(self, recording: str) -> list[dict[str, Any]]:
        """Who fetched which release that holds a recording of the key's organisation."""
        path = f"/v1/recordings/{quote(recording, safe='')}/uses"
        items: list[dict[str, Any]] = self.wire.json("GET", path)["items"]
        return items

    def _pages(self, path: str, query: dict[str, str | None]) -> Iterator[dict[str, Any]]:
        asked = {name: value for name, value in query.items() if value is not None}
        while True:
            page = self.wire.json("GET", path, params=asked)
            yield from page["items"]
            if not page.get("next_cursor"):
                return
            asked["cursor"] = page["next_cursor"]
