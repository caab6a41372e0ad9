"""What is said at the start: where to look."""

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from app.listeners import base_url
from app.settings import Settings, command_line
from demo import demo_traffic
from demo.demo_data import DEMO_USER
from store.sqlite.admin.apps import NewApp

if TYPE_CHECKING:
    from server import Marquee


def startup_message(
    settings: Settings,
    sockets: Sequence[socket.socket],
    marquee: "Marquee",
    made: Sequence[NewApp],
    password: str | None,
    as_json: bool,
) -> str:
    """What is said at the start: where to look, and the apps that the sample `made`.

    `password` is that of the owner whom the sample made.
    """
    address, unix = base_url(settings, sockets), sockets[0].family == socket.AF_UNIX
    data = str(marquee.data.resolve())
    invitation = marquee.owners.invitation.token
    first_user = f"{address}/admin/setup?token={invitation}" if invitation else None
    if as_json:
        said = {"address": f"{address}/", "data": data, "apps": made}
        more = {
            "setup": first_user,
            "owner": password and {"name": DEMO_USER, "password": password},
        }
        return msgspec.json.encode(said | {k: v for k, v in more.items() if v}).decode()
    lines = ["Marquee is ready."]
    lines.append(
        f"  socket      {sockets[0].getsockname()}" if unix else f"  address     {address}/"
    )
    if marquee.rotation.book.campaigns:
        first = next(iter(marquee.rotation.book.campaigns))
        lines.append(f"  a campaign  {address}/campaigns/{first}/")
        lines.append(f"  and why     {address}/api/v1/campaigns/{first}/candidates")
    else:
        lines.append(f"  no campaign yet: {command_line('import DIR', settings.data)}")
    if made:
        lines.append(f"  stories     {address}/api/v1/stories/{made[0].public_token}")
    if marquee.played:
        lines.append(
            f"  rising      {address}/live/{demo_traffic.DEMO_HOST}"
            f"?apikey={demo_traffic.DEMO_TOKEN}"
        )
    if first_user:
        lines.append(f"  your pages  {first_user}")
        lines.append("              (make the first user there: the link works once)")
    else:
        lines.append(f"  your pages  {address}/admin/")
    lines.append(f"  health      {address}/readyz and {address}/metrics")
    lines.append(f"  data        {data}")
    if password:
        lines += ["", "Who may log in there, with a password that is told just this once:"]
        lines.append(f"  name {DEMO_USER}  password {password}")
    if made:
        lines += ["", "The sample's apps, with secret tokens that are told just this once:"]
    lines += [f"  {it.name}  public {it.public_token}  secret {it.secret_token}" for it in made]
    return "\n".join(lines)
