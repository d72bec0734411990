"""A web application on uvicorn and Starlette, served on yamanote.

From the command line the same is `uvicorn --loop yamanote:new_event_loop module:app`.
"""

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import yamanote


async def hello(request: Request) -> JSONResponse:
    """Greets whoever asks."""
    return JSONResponse({"hello": request.path_params["name"]})


app = Starlette(routes=[Route("/hello/{name}", hello)])


async def main() -> None:
    """Serves until SIGTERM or Ctrl-C."""
    # Port 0: the system picks a free one, and uvicorn's log says which.
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="info"))
    await server.serve()


if __name__ == "__main__":
    yamanote.run(main())
