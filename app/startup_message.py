"""The message on stdout once the server is ready: its addresses and new credentials."""

import socket
from collections.abc import Sequence
from typing import Any

import msgspec

from app.core import Core
from app.listeners import base_url
from demo.demo_data import DEMO_USER


def print_startup_message(core: Core, sockets: Sequence[socket.socket], as_json: bool) -> None:
    """Print the message as text, or as one JSON object.

    The secrets of apps and users that `--sample` created are shown only here.
    """
    url = base_url(core.settings, sockets)
    message = _json_message(core, url) if as_json else _text_message(core, url, sockets[0])
    print(message, flush=True)


def _json_message(core: Core, url: str) -> str:
    message: dict[str, Any] = {
        "address": f"{url}/",
        "data": str(core.data.resolve()),
        "apps": core.demo_apps,
    }
    if core.setup_token:
        message["setup"] = f"{url}/admin/setup?token={core.setup_token}"
    if core.demo_password:
        message["owner"] = {"name": DEMO_USER, "password": core.demo_password}
    return msgspec.json.encode(message).decode()


def _text_message(core: Core, url: str, first: socket.socket) -> str:
    is_unix = first.family == socket.AF_UNIX
    lines = [f"socket      {first.getsockname()}" if is_unix else f"address     {url}/"]
    lines += [line for feature in core.features for line in feature.startup_lines(url)]
    text = ["Marquee is ready.", *(f"  {line}" for line in lines)]
    if core.demo_password:
        text += ["", "Admin login (the password is shown only once):"]
        text.append(f"  name {DEMO_USER}  password {core.demo_password}")
    if core.demo_apps:
        text += ["", "Demo apps (the secret tokens are shown only once):"]
    for app in core.demo_apps:
        text.append(f"  {app.name}  public {app.public_token}  secret {app.secret_token}")
    return "\n".join(text)
