"""An HTTP server for tests of the client: it answers batches as Marquee does, or by a script."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class BatchHandler(BaseHTTPRequestHandler):
    """Answers each request by the next (status, headers) of the script, else 202.

    Status 0 closes the connection without an answer. `Body` among the headers is the body.
    """

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
    """Keeps a connection open, or announces that and closes it (`Close` among the headers)."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        super().do_POST()
        self.server.connections.add(self.client_address)
        self.close_connection = self.server.closes_connections


class BatchServer(ThreadingHTTPServer):
    """The server, in a thread of its own."""

    def __init__(self, handler: type[BatchHandler] = BatchHandler) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.script: list[tuple[int, dict[str, str]]] = []
        self.batches: list[list[dict]] = []
        self.request_heads: list[tuple[str, dict[str, str]]] = []
        self.connections: set[tuple[str, int]] = set()
        self.closes_connections = False
        self.url = f"http://127.0.0.1:{self.server_port}"

    def names(self) -> list[str]:
        """The names of all events that came, in order."""
        return [event["name"] for batch in self.batches for event in batch]

    def __enter__(self) -> "BatchServer":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
