"""An HTTP/1.1 server for Tornado applications, parsed by llhttp, with fast routes.

`Server(application, fast_routes)` passes requests that no `FastRoute` matches to `application`: an
unchanged `tornado.web.Application`, or any other `HTTPServerConnectionDelegate`.
"""

from httpserver.context.server_stats import ServerStats
from httpserver.deferred_response import DeferredResponse
from httpserver.error_responses import problem_response
from httpserver.fast_routes import FastRoute
from httpserver.limits import ServerLimits
from httpserver.memory_budget import MemoryBudget, MemoryReservation, reservation_owners
from httpserver.messages import DelayedResponse, Request, Response, cookie_values
from httpserver.protocol.request_id import REQUEST_ID_HEADER
from httpserver.refusal import RequestRefusal
from httpserver.server import Server
from httpserver.sockets import bind_tcp, bind_unix, inherited_sockets
from httpserver.tornado.request_normalizer import RequestNormalizer, get_request_id
from httpserver.tornado.tornado_adapter import tornado_rules
from httpserver.tornado.tornado_headers import ResponseHeadersWrapper

__all__ = [
    "REQUEST_ID_HEADER",
    "DeferredResponse",
    "DelayedResponse",
    "FastRoute",
    "MemoryBudget",
    "MemoryReservation",
    "Request",
    "RequestNormalizer",
    "RequestRefusal",
    "Response",
    "ResponseHeadersWrapper",
    "Server",
    "ServerLimits",
    "ServerStats",
    "bind_tcp",
    "bind_unix",
    "cookie_values",
    "get_request_id",
    "inherited_sockets",
    "problem_response",
    "reservation_owners",
    "tornado_rules",
]
