"""The demo's aiohttp application."""

from __future__ import annotations

from aiohttp import web

from payload import OBJECT, dumps


async def give_json(_request: web.Request) -> web.Response:
    """Answer with a JSON object."""
    return web.json_response(OBJECT, dumps=dumps)


def application() -> web.Application:
    """Make the application; aiohttp wants a new one for each run."""
    app = web.Application()
    app.router.add_get("/json", give_json)
    return app
