"""A web site of a customer that embeds the beacon."""

import http.server
import threading

PAGE = """<!DOCTYPE html><title>{title}</title><h1>Hello</h1>
<script src="{beacon}" data-token="{token}" defer></script>"""


class BeaconSite:
    """Serves `page` for every path, and records the requests."""

    def __init__(self) -> None:
        site = self
        self.page = b""
        self.requests: list[tuple[str, str]] = []  # path, Sec-Purpose header

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append((self.path, self.headers.get("Sec-Purpose") or ""))
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(site.page)))
                self.end_headers()
                self.wfile.write(site.page)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(120)
        self._server.server_close()
