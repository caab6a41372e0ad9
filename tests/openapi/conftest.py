"""The control plane in the test's process, for `http_client`."""

from tests.support.web.in_process_application import app, io_loop

__all__ = ["app", "io_loop"]
