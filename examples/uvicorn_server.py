"""A web application on uvicorn and Starlette, served on yamanote.

The equivalent command line is `uvicorn --loop yamanote:new_event_loop module:app`.
"""

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import yamanote


async def hello(request: Request) -> JSONResponse:
    """Responds with a greeting."""
    return JSONResponse({"hello": request.path_params["name"]})


app = Starlette(routes=[Route("/hello/{name}", hello)])


async def main() -> None:
    """Serves until SIGTERM or Ctrl-C."""
    # Port 0: the system picks a free port, which uvicorn logs.
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="info"))
    await server.serve()


if __name__ == "__main__":
    yamanote.run(main())
