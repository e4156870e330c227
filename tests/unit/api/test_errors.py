from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException

from api import errors as api_errors
from api.errors import STATUS, TITLES, problem_of, status_of
from schemas import errors


def kinds(kind: type[errors.TanadaError]) -> list[type[errors.TanadaError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in kinds(child))]


def test_every_error_has_a_status_and_a_title() -> None:
    for kind in kinds(errors.TanadaError):
        if kind.__module__ in {"schemas.errors", "api.errors"}:
            status = next(STATUS[base] for base in kind.__mro__ if base in STATUS)
            assert status in TITLES, kind


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UnauthenticatedError("x"), 401),
        (errors.ForbiddenError("x"), 403),
        (errors.LicenceError("x"), 403),
        (errors.NotFoundError("x"), 404),
        (errors.ConflictError("x"), 409),
        (errors.GoneError("x"), 410),
        (errors.CorruptError("x"), 422),
        (errors.WrongUseError("x"), 422),
        (errors.CatalogBusyError("x"), 503),
        (errors.StoreUnavailableError("x"), 503),
        (errors.DamagedError("x"), 500),
        (api_errors.UnaccountedError("x"), 500),
        (api_errors.RangeNotSatisfiableError(5), 416),
    ],
)
def test_the_map(error: errors.TanadaError, status: int) -> None:
    assert status_of(error) == status


def test_a_404_never_names_what_was_asked() -> None:
    one = problem_of(errors.NotFoundError("no such dataset", subject="secret-plan"))
    other = problem_of(errors.NotFoundError("nothing", subject="x", next_step="y"))
    assert one == other == problem_of(HTTPException(404))


def test_a_5xx_never_repeats_the_exception() -> None:
    for error in (ValueError("/etc/key"), errors.DamagedError("/etc/key", subject="/etc/key")):
        document, _ = problem_of(error)
        assert "/etc/key" not in str(document)
    busy, headers = problem_of(errors.CatalogBusyError("locked", subject="/etc/key"))
    assert "/etc/key" not in str(busy)
    assert int(headers["Retry-After"]) > 0


def test_a_refusal_names_its_rules() -> None:
    document, _ = problem_of(api_errors.RefusedError("no", rules=["expired"], next_step="renew"))
    assert (document["rules"], document["next_step"]) == (["expired"], "renew")
    assert document["detail"] == "no"
