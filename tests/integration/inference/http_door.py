"""A loopback HTTP server that turns requests into proxy events, as API Gateway does, for clients of others."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from mlops.inference.application import Application


@contextmanager
def served(application: Application) -> Iterator[str]:
    """Serve on a free port of the loopback interface; gives ``host:port``."""

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            names = {name.lower() for name in self.headers}
            is_binary = bool(names & {"inference-header-content-length", "content-encoding"})
            event: dict[str, Any] = {
                "httpMethod": self.command,
                "path": urlsplit(self.path).path,
                "headers": dict(self.headers),
                "requestContext": {"requestId": "local", "authorizer": {"scopes": "predict", "models": "*"}},
                "body": (base64.b64encode(body).decode() if is_binary else body.decode()) if body else None,
                "isBase64Encoded": is_binary,
            }
            response = application.handle(event, None)
            data = response["body"].encode()
            if response.get("isBase64Encoded"):
                data = base64.b64decode(data)
            self.send_response(response["statusCode"])
            for name, value in response["headers"].items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer

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
