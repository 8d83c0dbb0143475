"""A loopback HTTP server that turns requests into proxy events, as API Gateway does, for clients of others."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from mlops.inference.application import Application

#: Routes that the template leaves open.
OPEN = ("/docs", "/v2/health/live", "/v2/health/ready")


def text(body: bytes, is_binary: bool) -> str | None:
    """A body as API Gateway hands it on: what is no UTF-8 in a text is replaced."""
    if not body:
        return None
    return base64.b64encode(body).decode() if is_binary else body.decode(errors="replace")


@contextmanager
def served(application: Application, *, guarded: bool = False) -> Iterator[str]:
    """Serve on a free port of the loopback interface; gives ``host:port``. ``guarded``: 401 without a token."""

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if guarded and "Authorization" not in self.headers and urlsplit(self.path).path not in OPEN:
                self.send(401, {"Content-Type": "application/json"}, b'{"message": "Unauthorized"}')
                return
            names = {name.lower() for name in self.headers}
            is_binary = bool(names & {"inference-header-content-length", "content-encoding"})
            event: dict[str, Any] = {
                "httpMethod": self.command,
                "path": urlsplit(self.path).path,
                "headers": dict(self.headers),
                "requestContext": {"requestId": "local", "authorizer": {"scopes": "predict", "models": "*"}},
                "body": text(body, is_binary),
                "isBase64Encoded": is_binary,
            }
            with contextlib.redirect_stdout(io.StringIO()):
                response = application.handle(event, None)
            data = response["body"].encode()
            self.send(
                response["statusCode"],
                response["headers"],
                base64.b64decode(data) if response.get("isBase64Encoded") else data,
            )

        def send(self, status: int, headers: dict[str, str], data: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def __getattr__(self, name: str) -> Callable[[], None]:
            """Every method is asked for by ``do_<METHOD>``; predict says which it knows."""
            if name.startswith("do_"):
                return self.answer
            raise AttributeError(name)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
