"""An HTTP/1.1 server for Tornado applications, parsed by llhttp, with lanes past the application.

`Server(application, lanes)` gives what no `Lane` answers to `application`, which is an unchanged
`tornado.web.Application` or any other `HTTPServerConnectionDelegate`.
"""

from wire.always import Always
from wire.lanes import Lane
from wire.later import Later
from wire.limits import Limits
from wire.messages import Request, Response, Unhurried, cookies
from wire.mounting import mount
from wire.normalizing import Normalized, header_id
from wire.problems import problem
from wire.refusal import Refusal
from wire.request_id import NAME as REQUEST_ID
from wire.room import Room, Share, owners_of
from wire.server import Server, Stats
from wire.sockets import bind, bind_unix, inherited

__all__ = [
    "REQUEST_ID",
    "Always",
    "Lane",
    "Later",
    "Limits",
    "Normalized",
    "Refusal",
    "Request",
    "Response",
    "Room",
    "Server",
    "Share",
    "Stats",
    "Unhurried",
    "bind",
    "bind_unix",
    "cookies",
    "header_id",
    "inherited",
    "mount",
    "owners_of",
    "problem",
]
