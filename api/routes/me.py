"""Who the caller is."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from api.access import Access, DataRoute, Visiting, data_route
from api.errors import JsonResponse
from api.routes.described import answers
from api.views import Me

router = APIRouter(route_class=DataRoute, tags=["caller"])
WHOAMI: Final = Access("whoami", "any member, about itself")


@data_route(
    router, "GET", "/v1/me", WHOAMI, responses=answers(Me, "member, organisation and roles")
)
async def show_me(visit: Visiting) -> JsonResponse:
    """Say who the key or session belongs to, and its roles."""
    caller, principal = visit.caller, visit.caller.principal
    await visit.permit(f"members/{principal.member_id}")
    return JsonResponse(
        {
            "member": principal.member_id,
            "name": caller.member_name,
            "organisation": principal.organisation_id,
            "organisation_name": caller.organisation_name,
            "roles": sorted(principal.roles),
            "operator": principal.operator,
            "country": caller.country,
        }
    )
