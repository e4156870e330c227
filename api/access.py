"""How a data route is declared, and why none can answer unaccounted.

Every data route states its access rule with `data_route`. Its route class authenticates before
the endpoint runs, and lets an answer out only if the endpoint got a durable entry in the account
for this very request. `create_app` refuses a route that declares no rule and is not on the
reviewed list of open ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.routing import Mount, Route

from api.errors import RefusedError, UnaccountedError
from api.middleware import request_id_of
from api.views import NoQuery
from connectors.stores.catalog import ledger
from schemas.errors import NotFoundError, TanadaError, WrongUseError
from schemas.licences import Decision

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from fastapi import APIRouter
    from sqlalchemy import Connection
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from api.auth import Caller
    from api.services import Services

OPEN_ROUTES: Final = frozenset({"/health", "/openapi.json", "/login", "/logout", "/static"})
"""Reviewed: none of these shows anything of a recording, dataset or release."""
CONTRIBUTORS: Final = frozenset({"partner", "engineer", "admin"})
"""Roles that may hand recordings in."""
READERS: Final = CONTRIBUTORS | {"steward", "auditor"}
"""Roles that may see what their organisation handed in."""
RESOURCE_MAX: Final = 600
_ATTRIBUTE: Final = "tanada_access"
_T = TypeVar("_T")
_Form = TypeVar("_Form", bound=BaseModel)
_Endpoint = TypeVar("_Endpoint", bound="Callable[..., Any]")


@dataclass(frozen=True, slots=True)
class Access:
    """The access rule of one data route.

    Attributes:
        action: What the account calls it.
        rule: Who may, in one sentence; shown in the API's description.
        roles: Roles of which the caller needs one; empty: any member.
    """

    action: str
    rule: str
    roles: frozenset[str] = frozenset()


@dataclass(slots=True)
class Visit:
    """One authenticated request to a data route.

    Attributes:
        services: What the server runs on.
        caller: Who asks.
        access: Rule of the route.
        request_id: Id of the request.
        network: IP address that it came from.
        now_ns: When it came.
        query: The query in the route's form; see `asked`.
        recorded: Whether the account holds a durable permit for it.
    """

    services: Services
    caller: Caller
    access: Access
    request_id: str
    network: str | None
    now_ns: int
    query: BaseModel = field(default_factory=NoQuery, init=False)
    recorded: bool = field(default=False, init=False)

    @property
    def organisation(self) -> str:
        """Id of the caller's organisation."""
        return self.caller.principal.organisation_id

    @property
    def roles(self) -> frozenset[str]:
        """Roles of the caller."""
        return self.caller.principal.roles

    def asked(self, form: type[_Form]) -> _Form:
        """The query, in the form that the route declares.

        Raises:
            UnaccountedError: the route declares another one.
        """
        if not isinstance(self.query, form):
            raise UnaccountedError("the route declares another query", subject=form.__name__)
        return self.query

    def entry(
        self,
        resource: str,
        *,
        permit: bool,
        rules: Iterable[str] = (),
        obligations: Iterable[str] = (),
        purpose: str | None = None,
        grant: tuple[str, int] | None = None,
    ) -> ledger.Entry:
        """The account's entry for a decision about this request.

        Args:
            resource: Path-like name of what was asked for.
            permit: Whether it is allowed.
            rules: Rules that fired.
            obligations: What follows for the recipient.
            purpose: Stated purpose.
            grant: Id and terms version of the grant that decided.
        """
        decision = Decision(permit=permit, rules=tuple(rules), obligations=tuple(obligations))
        return ledger.Entry(
            at_ns=self.now_ns,
            actor=self.caller.principal.member_id,
            organisation=self.organisation,
            action=self.access.action,
            resource=resource[:RESOURCE_MAX],
            decision=decision,
            purpose=purpose,
            grant=grant[0] if grant else None,
            terms_version=grant[1] if grant else None,
            request_id=self.request_id,
        )

    async def read(self, function: Callable[[Connection], _T]) -> _T:
        """What `function` returns for an open connection, bound to the caller's organisation.

        Raises:
            CatalogBusyError: the database does not answer.
        """
        return await self.services.reads.call(self.organisation, function)

    async def permit(self, resource: str, **details: Any) -> None:
        """Record that this request is allowed; afterwards the route may answer.

        Raises:
            CatalogBusyError: it could not be recorded; nothing may be sent.
        """
        await self.services.account.record(self.entry(resource, permit=True, **details))
        self.services.metrics.decided(self.access.action, permit=True)
        self.recorded = True

    async def authorise(self, ask: ledger.Ask) -> ledger.Recorded:
        """Decide on the usage of this moment, reserve and record, in one transaction.

        Raises:
            CatalogBusyError: it could not be recorded; nothing may be sent.
        """

        def job(connection: Connection) -> ledger.Recorded:
            (recorded,) = ledger.authorise(connection, [ask])
            return recorded

        recorded = await self.services.account.write(job)
        self.recorded = recorded.decision is not None and recorded.decision.permit
        self.services.metrics.decided(self.access.action, permit=self.recorded)
        return recorded

    async def refuse(self, resource: str, error: TanadaError, **details: Any) -> TanadaError:
        """Record a refusal; the caller raises the returned error."""
        details.setdefault("rules", _rules_of(error))
        await self.services.account.record(self.entry(resource, permit=False, **details))
        self.services.metrics.decided(self.access.action, permit=False)
        return error


def _rules_of(error: TanadaError) -> Sequence[str]:
    if isinstance(error, RefusedError):
        return error.rules
    return ("not_found",) if isinstance(error, NotFoundError) else ("withdrawn",)


async def _visit(request: Request) -> Visit:
    visit: Visit = request.state.visit
    return visit


Visiting = Annotated[Visit, Depends(_visit)]
"""Parameter type by which an endpoint gets its visit."""


class DataRoute(APIRoute):
    """A route that authenticates first and never answers without an entry in the account."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Handler around the endpoint."""
        inner = super().get_route_handler()
        declared = _declared(self)

        async def handle(request: Request) -> Response:
            if declared is None:
                raise UnaccountedError("the route declares no access rule", subject=self.path)
            access, form = declared
            visit = await _admit(request, access)
            visit.query = _read_query(request, form)
            request.state.visit = visit
            response = await inner(request)
            if not visit.recorded:
                raise UnaccountedError("an answer without an account entry", subject=self.path)
            return response

        return handle


def _read_query(request: Request, form: type[BaseModel]) -> BaseModel:
    """The query in its form; cheaper than FastAPI's own way, which hot routes would feel.

    Raises:
        RequestValidationError: unknown, doubled or malformed parameters.
    """
    given = request.query_params.multi_items()
    values = dict(given)
    try:
        if len(values) != len(given):
            doubled = {"type": "doubled", "loc": ("query",), "msg": "a parameter stands twice"}
            raise RequestValidationError([doubled])
        return form.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        wrong = [{**entry, "loc": ("query", *entry["loc"])} for entry in found]
        raise RequestValidationError(wrong) from error


def _described(form: type[BaseModel]) -> list[dict[str, Any]]:
    """A query's form, as OpenAPI lists parameters."""
    schema = form.model_json_schema()
    required = set(schema.get("required", ()))
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": {key: value for key, value in field.items() if key != "description"},
            "description": field.get("description", ""),
        }
        for name, field in schema.get("properties", {}).items()
    ]


async def _admit(request: Request, access: Access) -> Visit:
    services: Services = request.app.state.services
    caller = await services.authenticator.caller(request)
    request.state.caller = caller
    network = request.client.host if request.client else None
    visit = Visit(services, caller, access, request_id_of(request.scope), network, services.clock())
    if access.roles and not access.roles & visit.roles:
        error = RefusedError(
            "your roles do not allow this",
            rules=("role",),
            next_step=f"it needs one of: {', '.join(sorted(access.roles))}",
        )
        raise await visit.refuse(request.url.path, error)
    return visit


def data_route(
    router: APIRouter, method: str, path: str, access: Access, **options: Any
) -> Callable[[_Endpoint], _Endpoint]:
    """Register an endpoint as a data route with its access rule.

    Args:
        router: Router whose route class is `DataRoute`.
        method: HTTP method.
        path: Path template.
        access: Access rule.
        options: Further options of FastAPI's `api_route`; `query` is the form of the query (none
            is taken by default), `openapi_body` describes a raw body.
    """
    extra: dict[str, Any] = {
        "x-access-rule": access.rule,
        "x-account-action": access.action,
    }
    query: type[BaseModel] = options.pop("query", NoQuery)
    extra["parameters"] = _described(query)
    if body := options.pop("openapi_body", None):
        content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        extra["requestBody"] = {"required": True, "description": body, "content": content}

    def register(endpoint: _Endpoint) -> _Endpoint:
        setattr(endpoint, _ATTRIBUTE, (access, query))
        router.api_route(
            path,
            methods=[method],
            openapi_extra=extra,
            response_model=None,
            **options,
        )(endpoint)
        return endpoint

    return register


def access_of(route: BaseRoute) -> Access | None:
    """The access rule that a route declares, or None."""
    declared = _declared(route)
    return declared[0] if declared else None


def _declared(route: BaseRoute) -> tuple[Access, type[BaseModel]] | None:
    endpoint = getattr(route, "endpoint", None)
    found: tuple[Access, type[BaseModel]] | None = getattr(endpoint, _ATTRIBUTE, None)
    return found


def require_declared(routes: Iterable[BaseRoute]) -> None:
    """Refuse an application with a route that is neither declared nor on the reviewed list.

    Raises:
        WrongUseError: naming the route.
    """
    for route in routes:
        path = getattr(route, "path", "")
        guarded = isinstance(route, DataRoute) and access_of(route) is not None
        opened = isinstance(route, Route | Mount) and path in OPEN_ROUTES
        if guarded == opened:
            raise WrongUseError(
                "the route declares no access rule and is not on the reviewed list",
                subject=path or repr(route),
                next_step="register it with api.access.data_route",
            )
