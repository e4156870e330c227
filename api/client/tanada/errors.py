"""What can go wrong for a user of the client, ordered by what to do about it.

Each error knows its exit code: 1 refused or damaged, 2 wrong use, 3 a retry may help.
No message ever holds a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class TanadaClientError(Exception):
    """Root of the client's errors.

    Args:
        what: What failed and on what, in one sentence.
        next_step: What the reader can do.
        rules: Names of the licence or access rules that refused it.
        status: HTTP status of the answer; None where there was none.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        next_step: str = "",
        rules: Sequence[str] = (),
        status: int | None = None,
    ) -> None:
        self.what = what
        self.next_step = next_step
        self.rules = tuple(rules)
        self.status = status
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [self.what]
        if self.rules:
            lines.append(f"rules: {', '.join(self.rules)}")
        if self.next_step:
            lines.append(f"next: {self.next_step}")
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """The parts by name, for `--json`."""
        return {
            "kind": type(self).__name__,
            "what": self.what,
            "rules": list(self.rules),
            "next_step": self.next_step,
            "status": self.status,
        }


class RefusedError(TanadaClientError):
    """The catalog knows what was asked for, and refuses it now or for this purpose."""


class ConflictError(RefusedError):
    """It contradicts what the catalog has on record."""


class GoneError(RefusedError):
    """It existed and was withdrawn: local copies have to be deleted as the terms say."""


class DamagedError(TanadaClientError):
    """Bytes are not what the catalog recorded of them."""


class WrongUseError(TanadaClientError):
    """An argument, setting or login is wrong or missing."""

    exit_code = 2


class NotFoundError(WrongUseError):
    """No such thing, or none that this key may know of."""


class CatalogUnavailableError(TanadaClientError):
    """The catalog does not answer, or cannot just now; the same call may succeed later."""

    exit_code = 3
