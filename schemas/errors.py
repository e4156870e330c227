"""The error tree, ordered by recovery: what the caller should do, not where it happened.

* `RetryError`      - the same call may succeed later; nothing was lost.
* `QuarantineError` - this recording stops with a reason; the rest of the batch goes on.
* `FailError`       - a person has to act; retrying changes nothing.

Errors know nothing of HTTP or exit codes: `api.errors` and `pipelines.cli` each hold one map.
A message says what failed, on which id, what was expected and found, and the next command.
Never put a key, a secret or a person's id into any of these fields.
"""

from __future__ import annotations


class TanadaError(Exception):
    """Root of every error the platform raises on purpose.

    Args:
        what: What failed, in one clause.
        subject: The id it failed on (recording, table, path, release …).
        expected: What was expected, if that can be said.
        found: What was found instead.
        next_step: The next command or action for the reader.
    """

    def __init__(
        self,
        what: str,
        *,
        subject: str = "",
        expected: str = "",
        found: str = "",
        next_step: str = "",
    ) -> None:
        self.what = what
        self.subject = subject
        self.expected = expected
        self.found = found
        self.next_step = next_step
        super().__init__(str(self))

    def __reduce__(self) -> tuple[object, ...]:
        """Keep keyword fields when an error crosses a process boundary."""
        return (_rebuild, (type(self), self.what, self.fields()))

    def fields(self) -> dict[str, str]:
        """The message's parts by name, for JSON answers."""
        return {
            "subject": self.subject,
            "expected": self.expected,
            "found": self.found,
            "next_step": self.next_step,
        }

    def __str__(self) -> str:
        text = f"{self.subject}: {self.what}" if self.subject else self.what
        if self.expected or self.found:
            text += f" (expected {self.expected or '-'}, found {self.found or '-'})"
        if self.next_step:
            text += f"; next: {self.next_step}"
        return text


def _rebuild(kind: type[TanadaError], what: str, fields: dict[str, str]) -> TanadaError:
    return kind(what, **fields)


class RetryError(TanadaError):
    """The same call may succeed later; nothing was lost."""


class StoreUnavailableError(RetryError):
    """The root or object store does not answer, or has no space left."""


class CatalogBusyError(RetryError):
    """The catalog database is locked or unreachable."""


class CommitConflictError(RetryError):
    """Another writer committed first, more often than the committer retries."""


class ValidatorUnavailableError(RetryError):
    """The Great Expectations process is missing or died; nothing may be accepted without it."""


class QuarantineError(TanadaError):
    """This recording stops with a reason; the batch goes on.

    `rule` is the machine-readable reason, as it appears in a verdict.
    """

    rule = "rejected"


class WrongFormatError(QuarantineError):
    """No source recognises the bytes, or metadata and storage disagree about them."""

    rule = "wrong_format"


class CorruptError(QuarantineError):
    """A checksum, length or structure inside the file is wrong."""

    rule = "corrupt"


class EmptyRecordingError(QuarantineError):
    """The recording is well-formed (or 0 bytes) and holds no message."""

    rule = "empty"


class LimitExceededError(QuarantineError):
    """The recording needs more memory, time, output or elements than its child process may use."""

    rule = "limit_exceeded"


class FailError(TanadaError):
    """A person has to act; retrying changes nothing."""


class WrongUseError(FailError):
    """An argument, setting or recipe is wrong."""


class MissingDependencyError(FailError):
    """An optional package is missing; the message carries the install line."""


class NotFoundError(FailError):
    """No such object, or none that this caller may know of."""


class ConflictError(FailError):
    """The request contradicts what is already recorded."""


class ForbiddenError(FailError):
    """The caller is known, and not allowed to do this."""


class UnauthenticatedError(FailError):
    """No key, or one that is unknown, revoked or expired."""


class LicenceError(FailError):
    """Terms forbid it: the rules that fired are named. Not raised for a plain denial decision."""


class GoneError(FailError):
    """It existed and was withdrawn."""


class DamagedError(FailError):
    """Stored bytes differ from what was recorded of them."""
