"""Log-in with the key, and log-out: the only pages that show nothing of the catalog."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from api.auth import LOGIN_COOKIE, SESSION_COOKIE
from api.middleware import request_id_of
from api.pages.render import page
from schemas.errors import UnauthenticatedError

if TYPE_CHECKING:
    from api.services import Services

router = APIRouter(include_in_schema=False)
_LOCAL: Final = re.compile(r"/(?![/\\])[A-Za-z0-9/_.~%-]{0,300}")
KeyField = Annotated[str, Form(max_length=200)]
TokenField = Annotated[str, Form(max_length=100)]
NextField = Annotated[str, Form(max_length=400)]


def _local(target: str) -> str:
    """The page to go on to, if it is one of ours."""
    return target if _LOCAL.fullmatch(target) else "/"


def _form(request: Request, target: str, *, refused: bool = False) -> Response:
    services: Services = request.app.state.services
    nonce = secrets.token_urlsafe(24)
    response = page(
        "login.html",
        caller=None,
        status=401 if refused else 200,
        token=services.authenticator.login_token(nonce),
        target=_local(target),
        refused=refused,
    )
    response.set_cookie(
        LOGIN_COOKIE,
        nonce,
        max_age=3600,
        path="/login",
        httponly=True,
        samesite="strict",
        secure=services.https,
    )
    return response


@router.get("/login", response_model=None)
async def show_login(request: Request) -> Response:
    """The form that takes the key."""
    return _form(request, request.query_params.get("next", "/"))


@router.post("/login", response_model=None)
async def log_in(
    request: Request, key: KeyField, token: TokenField, target: NextField = "/"
) -> Response:
    """Open a session for the key."""
    services: Services = request.app.state.services
    authenticator = services.authenticator
    authenticator.check_login_token(request.cookies.get(LOGIN_COOKIE, ""), token)
    try:
        session = await authenticator.open_session(key.strip(), request_id_of(request.scope))
    except UnauthenticatedError:
        return _form(request, target, refused=True)
    response = RedirectResponse(_local(target), status_code=303)
    response.set_cookie(
        SESSION_COOKIE,
        session.cookie,
        max_age=session.max_age,
        path="/",
        httponly=True,
        samesite="strict",
        secure=services.https,
    )
    response.delete_cookie(LOGIN_COOKIE, path="/login")
    return response


@router.post("/logout", response_model=None)
async def log_out(request: Request, token: TokenField) -> Response:
    """End the session."""
    services: Services = request.app.state.services
    caller = await services.authenticator.of_session(request)
    services.authenticator.check_csrf(caller, token)
    await services.authenticator.close_session(request)
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(SESSION_COOKIE, path="/")
    return response
