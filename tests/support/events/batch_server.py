"""An HTTP server for tests of the client: it accepts batches as Marquee does, or by a script."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class BatchHandler(BaseHTTPRequestHandler):
    """Sends the next (status, headers) of the script, and 202 after its end.

    Status 0 closes the connection without a response. The header `Body` is the response body.
    """

    server: "BatchServer"
    protocol_version = "HTTP/1.0"

    def do_POST(self) -> None:
        lines = self.rfile.read(int(self.headers["Content-Length"])).split(b"\n")
        self.server.batches.append([json.loads(line) for line in lines])
        self.server.request_heads.append((self.path, dict(self.headers)))
        status, headers = self.server.script.pop(0) if self.server.script else (202, {})
        if status == 0:
            self.close_connection = True
            return
        results = [{"status": "accepted", "id": "1"} for _ in lines]
        body = headers.pop("Body", json.dumps({"results": results})).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class KeepAliveBatchHandler(BatchHandler):
    """Keeps connections open, or closes them unannounced if the server `closes_connections`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        super().do_POST()
        self.server.connections.add(self.client_address)
        self.close_connection = self.server.closes_connections


class BatchServer(ThreadingHTTPServer):
    """A server in a thread, which records batches and request heads."""

    def __init__(self, handler: type[BatchHandler] = BatchHandler) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.script: list[tuple[int, dict[str, str]]] = []
        self.batches: list[list[dict[str, Any]]] = []
        self.request_heads: list[tuple[str, dict[str, str]]] = []
        self.connections: set[tuple[str, int]] = set()
        self.closes_connections = False
        self.url = f"http://127.0.0.1:{self.server_port}"

    def names(self) -> list[str]:
        """Return the names of all received events in order."""
        return [event["name"] for batch in self.batches for event in batch]

    def __enter__(self) -> "BatchServer":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
