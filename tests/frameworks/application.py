"""The ASGI application under test, which a server in another process can also import."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send
    from starlette.websockets import WebSocket


class Doors:
    """Lets a test control when a handler continues, and see when it ended."""

    def __init__(self) -> None:
        """Start closed."""
        self.open = asyncio.Event()
        self.streams_ended = asyncio.Event()


class Echo:
    """Sends the body back as it arrives, in chunks.

    Plain ASGI, because a `StreamingResponse` reads the request's messages to detect a disconnect.
    """

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        headers = [(b"content-type", b"application/octet-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            body = message.get("body", b"")
            await send({"type": "http.response.body", "body": body, "more_body": more})


def make() -> Starlette:
    """Returns a new application with its own `Doors`, in `state.doors`."""
    doors = Doors()

    async def hello(_: Request) -> Response:
        return PlainTextResponse("hello")

    async def number(request: Request) -> Response:
        return PlainTextResponse(request.path_params["number"])

    async def length(request: Request) -> Response:
        """Returns the length of the body, which it reads after the door was opened."""
        await doors.open.wait()
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
        return PlainTextResponse(str(total))

    async def open_door(_: Request) -> Response:
        doors.open.set()
        return PlainTextResponse("open")

    async def endless(_: Request) -> Response:
        """Streams until the client disconnects."""

        async def body() -> AsyncGenerator[bytes, None]:
            try:
                while True:
                    yield bytes(64 * 1024)
                    # Sending does not wait while the client reads: let the loop turn.
                    await asyncio.sleep(0)
            finally:
                doors.streams_ended.set()

        return StreamingResponse(body())

    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        async for message in websocket.iter_bytes():
            await websocket.send_bytes(message)

    application = Starlette(
        routes=[
            Route("/", hello),
            Route("/number/{number}", number),
            Route("/echo", Echo(), methods=["POST"]),
            Route("/length", length, methods=["POST"]),
            Route("/open", open_door),
            Route("/endless", endless),
            WebSocketRoute("/chat", chat),
        ]
    )
    application.state.doors = doors
    return application


application = make()
