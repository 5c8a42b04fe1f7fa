"""A wrapper for the HTTPS server that cuts answers short or fails them, as bad servers do."""

from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Cut(Exception):  # noqa: N818  # it is an event, not a mistake
    """The connection breaks here."""


@dataclass
class Faulty:
    """Passes requests on, until it is told otherwise; the switches may be set while it runs."""

    inner: ASGIApp
    status: int | None = None
    cut_after_bytes: int | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.status is not None:
            await send({"type": "http.response.start", "status": self.status, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        left = self.cut_after_bytes

        async def cut(message: Message) -> None:
            nonlocal left
            body = message.get("body", b"")
            if left is None or message["type"] != "http.response.body":
                await send(message)
            elif len(body) >= left:
                await send({**message, "body": body[:left], "more_body": True})
                raise Cut
            else:
                left -= len(body)
                await send(message)

        try:
            await self.inner(scope, receive, cut)
        except Cut:
            return  # the server closes a connection whose answer was never finished
