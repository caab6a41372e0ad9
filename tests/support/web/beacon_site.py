"""A web site of another owner that embeds the beacon."""

import http.server
import threading

PAGE = """<!DOCTYPE html><title>{title}</title><h1>Hello</h1>
<script src="{beacon}" data-token="{token}" defer></script>"""


class BeaconSite:
    """A web site of someone else's, which carries the beacon."""

    def __init__(self) -> None:
        shop = self
        self.page = b""
        self.requests: list[tuple[str, str]] = []  # paths, and what each was asked for

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shop.requests.append((self.path, self.headers.get("Sec-Purpose") or ""))
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(shop.page)))
                self.end_headers()
                self.wfile.write(shop.page)

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
