"""Requests to a catalog: one connection pool, retries where they may help, errors for people."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from tanada.errors import (
    CatalogUnavailableError,
    ConflictError,
    GoneError,
    NotFoundError,
    RefusedError,
    TanadaClientError,
    WrongUseError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tanada.settings import Login

ATTEMPTS: Final = 6
"""Tries of one request, or of one download without any progress."""
FIRST_ATTEMPTS: Final = 2
"""Tries where nothing ever answered: the address is more likely wrong than the catalog busy."""
LONGEST_WAIT_S: Final = 30.0
_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
_SERVER_ERROR: Final = 500
_CLIENT_ERROR: Final = 400
_TOO_MANY: Final = 429
_KINDS: Final[Mapping[int, type[TanadaClientError]]] = {
    401: WrongUseError,
    403: RefusedError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: WrongUseError,
}
_NEXT: Final[Mapping[int, str]] = {
    401: "tanada login --url URL",
    403: "ask for another grant, or state a purpose that the terms allow",
    404: "tanada search, or tanada status",
    410: "delete your copies as the terms say, then take the newest version",
}


_FOR_PROGRAMS: Final = re.compile(r"GET |POST |/v1/|/login|Authorization")


class Wire:
    """HTTP to one catalog with one key.

    Args:
        login: Address and key.
        sleep: Waits between retries; seconds.
    """

    def __init__(self, login: Login, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url = login.url
        self.sleep = sleep
        self._answered = False
        self._client = httpx.Client(
            base_url=login.url,
            headers={"Authorization": f"Bearer {login.key}", "Accept": "application/json"},
            timeout=_TIMEOUT,
            # A redirect could carry the key to another host.
            follow_redirects=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """One answer as a document.

        Raises:
            TanadaClientError: the catalog refused, or does not answer after all retries.
        """
        document = self.ask(method, path, **options).json()
        if not isinstance(document, dict):
            raise CatalogUnavailableError(f"{self.url}{path} answers something unexpected")
        return document

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Callable[[], Any] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """One answer; connection errors, 5xx and 429 are tried again with growing waits.

        Args:
            method: HTTP method; every one that is used here may safely be repeated.
            path: Path below the address.
            body: Makes the request's body anew for each try.
            options: Further options of `httpx.Client.request`.

        Raises:
            TanadaClientError: the catalog refused, or does not answer after all retries.
        """
        for attempt in range(ATTEMPTS):
            content = {"content": body()} if body else {}
            try:
                response = self._client.request(method, path, **content, **options)
            except httpx.TransportError as error:
                failure: TanadaClientError = self.unreachable(error)
                if not self._answered and attempt + 1 >= FIRST_ATTEMPTS:
                    break
                self.pause(attempt, None)
                continue
            self._answered = True
            if not worth_retrying(response.status_code):
                self.check(response)
                return response
            failure = problem_of(response)
            self.pause(attempt, response)
        raise failure

    @contextmanager
    def stream(self, path: str, **options: Any) -> Iterator[httpx.Response]:
        """One streamed answer, tried once: the caller resumes where it was cut."""
        with self._client.stream("GET", path, **options) as response:
            yield response

    def check(self, response: httpx.Response) -> None:
        """Raise what an unsuccessful answer says.

        Raises:
            TanadaClientError: it is no success.
        """
        if not response.is_success:
            response.read()
            raise problem_of(response)

    def pause(self, attempt: int, response: httpx.Response | None) -> None:
        """Wait before the next try: what `Retry-After` says, else doubling from half a second."""
        if attempt + 1 >= ATTEMPTS:
            return
        stated = response.headers.get("retry-after", "") if response is not None else ""
        wait = float(stated) if stated.isascii() and stated.isdigit() else 0.5 * 2.0**attempt
        self.sleep(min(wait, LONGEST_WAIT_S))

    def unreachable(self, error: Exception) -> CatalogUnavailableError:
        """The error for a connection that failed or was cut."""
        return CatalogUnavailableError(
            f"{self.url} does not answer ({type(error).__name__})",
            next_step="check the address (tanada login --url URL) and try again",
        )


def worth_retrying(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status >= _SERVER_ERROR or status == _TOO_MANY


def problem_of(response: httpx.Response) -> TanadaClientError:
    """The error that an answer states in its problem document, or by its status alone."""
    status = response.status_code
    try:
        document = response.json()
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    kind = _KINDS.get(status, WrongUseError if status >= _CLIENT_ERROR else TanadaClientError)
    if worth_retrying(status):
        kind = CatalogUnavailableError
    said = document.get("detail") or document.get("title") or response.reason_phrase
    step = str(document.get("next_step") or "")
    if not step or _FOR_PROGRAMS.search(step):
        # A step that names routes helps who writes requests; a person gets commands.
        step = _NEXT.get(status, step)
    return kind(
        _sentence(str(said), document.get("errors")),
        rules=[str(rule) for rule in document.get("rules") or ()],
        next_step=step,
        status=status,
    )


def _sentence(said: str, invalid: Any) -> str:
    if not isinstance(invalid, list):
        return said
    parts = [f"{e.get('where')}: {e.get('why')}" for e in invalid if isinstance(e, dict)]
    return f"{said}: {'; '.join(parts)}" if parts else said
