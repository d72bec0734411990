"""The demo's ASGI application: Starlette, with what a small service has.

`uvicorn app:app --loop yamanote:new_event_loop` serves it by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from payload import OBJECT, TEXT

if TYPE_CHECKING:
    from starlette.requests import Request


async def give_json(_request: Request) -> Response:
    """Answer with a JSON object."""
    return JSONResponse(OBJECT)


async def give_text(_request: Request) -> Response:
    """Answer with a line of text."""
    return PlainTextResponse(TEXT)


async def give_back(request: Request) -> Response:
    """Answer with the request's body."""
    return Response(await request.body(), media_type="application/octet-stream")


app = Starlette(
    routes=[
        Route("/json", give_json),
        Route("/text", give_text),
        Route("/echo", give_back, methods=["POST"]),
    ]
)
