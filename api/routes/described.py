"""What the API's description says of answers that many routes share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from api.errors import NOT_FOUND_DETAIL, PROBLEM_TYPE, problem
from api.views import Problem

if TYPE_CHECKING:
    from pydantic import BaseModel

_WHEN: Final = {
    401: "no key, or one that is unknown, revoked or expired",
    403: "known, and not allowed now or for this purpose; `rules` names why",
    404: NOT_FOUND_DETAIL,
    409: "contradicts what is registered; both sides are named",
    410: "it was withdrawn",
    413: "the body is too large",
    416: "the range lies outside the file",
    422: "the request does not have its form",
    503: "it can't be recorded or served just now; repeat after Retry-After seconds",
}
_EXAMPLES: Final = {
    401: problem(401, "a key is needed"),
    403: problem(
        403, "the terms do not allow this: purpose_not_allowed", rules=["purpose_not_allowed"]
    ),
    404: problem(404),
    409: problem(
        409,
        "recording 9f86…: the same files are registered under another robot "
        "(expected robot arm-1, found robot arm-2)",
    ),
    410: problem(410, "kitchen version 1: this release was withdrawn"),
    422: problem(
        422, "purpose: state what the data are for (expected one of pretraining …, found none)"
    ),
    503: problem(503),
}


def answers(
    model: type[BaseModel] | None,
    description: str,
    *codes: int,
    status: int = 200,
    media_type: str | None = None,
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: its own answer, and the problems it shares with others.

    Args:
        model: Form of the answer; None where it is bytes of `media_type`.
        description: What the answer is.
        codes: Further problems beside 401, 403, 404, 422 and 503.
        status: Status of the answer.
        media_type: Media type where the answer is no JSON.
    """
    own: dict[str, Any] = {"description": description}
    if model is not None:
        own["model"] = model
    if media_type is not None:
        own["content"] = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    found: dict[int | str, dict[str, Any]] = {status: own}
    for code in sorted({401, 403, 404, 422, 503, *codes}):
        content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}}
        if code in _EXAMPLES:
            content["example"] = _EXAMPLES[code]
        found[code] = {"description": _WHEN[code], "content": {PROBLEM_TYPE: content}}
    return found


PROBLEM_SCHEMA: Final = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
