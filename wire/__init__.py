"""An HTTP/1.1 server for Tornado applications, parsed by llhttp, with lanes past the application.

`Server(application, lanes)` gives what no `Lane` answers to `application`, which is an unchanged
`tornado.web.Application` or any other `HTTPServerConnectionDelegate`.

What it refuses, and how: malformed or doubtful framing 400, a method that llhttp does not know or
that has no use here (CONNECT, TRACE) 501, another version than HTTP/1.1 and 1.0 505, too much 413,
414 or 431, too slow 408, an expectation other than 100-continue 417, a `WebSocketHandler`'s upgrade
501 (any other upgrade is passed over), a connection too many 503. Each of these closes the
connection, after the peer has had time to read it.
"""

from wire.lanes import Lane
from wire.limits import Limits
from wire.messages import Request, Response
from wire.mounting import mount
from wire.problems import problem
from wire.refusal import Refusal
from wire.server import Server, Stats
from wire.sockets import bind, bind_unix, inherited

__all__ = [
    "Lane",
    "Limits",
    "Refusal",
    "Request",
    "Response",
    "Server",
    "Stats",
    "bind",
    "bind_unix",
    "inherited",
    "mount",
    "problem",
]
