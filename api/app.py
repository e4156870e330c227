"""The application: every route in one place; one that declares no access rule is refused."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from api.access import OPEN_ROUTES, require_declared
from api.errors import JsonResponse, problem_of, problem_response, wants_page
from api.middleware import BodyCap, Envelope
from api.pages import routes as pages
from api.pages.render import error_page
from api.routes import datasets, files, me, recordings, releases
from api.routes.described import PROBLEM_SCHEMA
from api.services import open_services
from api.views import Health, NoQuery
from schemas.errors import TanadaError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from connectors.settings import Settings

STATIC: Final = Path(__file__).parent / "pages" / "static"
DESCRIPTION: Final = """\
Hand in robot recordings, follow them to their verdict, search the datasets that you were granted,
and fetch licensed releases. Every answer of a data route follows a decision that is recorded
first. Errors are problem details (RFC 9457). A page ends with `next_cursor`: pass it back
unchanged. Stamps are nanoseconds since the Unix epoch, UTC.
"""
TAGS: Final = [
    {"name": "recordings", "description": "hand in, follow, see who uses them"},
    {"name": "datasets", "description": "search what you were granted"},
    {"name": "releases", "description": "what one version holds, and its files"},
    {"name": "caller", "description": "who you are"},
    {"name": "house", "description": "the server itself"},
]


def create_app(settings: Settings, clock: Callable[[], int]) -> FastAPI:
    """The application over one root.

    Args:
        settings: Where root and database are, and how the server is reached.
        clock: Now, ns UTC.

    Raises:
        NotFoundError: there is no lake at the root.
        WrongUseError: a route declares no access rule and is not on the reviewed list.
    """
    services = open_services(settings, clock)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        services.start()
        try:
            yield
        finally:
            services.close()

    app = FastAPI(
        title="Tanada",
        version=version("tanada-platform"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        lifespan=lifespan,
        separate_input_output_schemas=False,
    )
    app.state.services = services
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    _add_routes(app)
    for kind in (TanadaError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer_error)
    app.add_middleware(BodyCap)
    app.add_middleware(Envelope, https=services.https, metrics=services.metrics)
    require_declared(app.routes)
    return app


def _add_routes(app: FastAPI) -> None:
    async def health(_query: Annotated[NoQuery, Query()]) -> JsonResponse:
        """Say that the server is up."""
        return JsonResponse({"status": "ok"})

    app.add_api_route(
        "/health",
        health,
        tags=["house"],
        response_model=None,
        responses={200: {"model": Health, "description": "up"}},
    )
    for part in (me, recordings, datasets, releases, files):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    # Last: the pages end with a route that takes every other address.
    app.include_router(pages.router, include_in_schema=False)


async def _answer_error(request: Request, error: Exception) -> Response:
    document, headers = problem_of(error)
    if wants_page(request):
        return error_page(request, document, headers)
    return problem_response(document, headers)


def _described(app: FastAPI) -> dict[str, Any]:
    """The API's description, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=TAGS,
        )
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        problem = dict(PROBLEM_SCHEMA)
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        components["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "bearerFormat": "tnd_<id>_<secret>"},
            "session": {"type": "apiKey", "in": "cookie", "name": "tanada_session"},
        }
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if path not in OPEN_ROUTES:
                    operation["security"] = [{"key": []}, {"session": []}]
        app.openapi_schema = document
    return app.openapi_schema
