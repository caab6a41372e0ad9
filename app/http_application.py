"""The Tornado application and the fast routes, with what applies to all routes of all features."""

from tornado.web import Application, RequestHandler

from app.core import Core
from handlers.admin.admin_page import UnknownRouteHandler
from handlers.common import access_log
from handlers.common.base_handler import NotFoundHandler
from handlers.common.ingest import map_store_error
from handlers.common.rate_limits import RateLimitedApplication
from handlers.common.responses import problem_response
from handlers.common.route import Route
from handlers.common.trailing_slash import fast_route_with_slash, route_with_slash
from httpserver import tornado_rules

# The route label of responses to requests that match no route.
UNKNOWN_ROUTE = "unknown"


def prepare_fast_routes(core: Core) -> None:
    """Give the fast routes optional slashes, rate limits, error responses and an access log."""
    for route in core.fast_routes:
        fast_route_with_slash(route)
        route.error_to_refusal = map_store_error
        core.rate_limits.limit_fast_route(route)
        if core.settings.access_log:
            access_log.log_fast_route(route)


def build_application(core: Core) -> Application:
    """Return the application of the public address; it contains the fast routes, too."""
    routes: list[Route] = []
    for feature in core.features:
        routes += (*feature.routes, *feature.admin_pages)

    def log_request(handler: RequestHandler) -> None:
        name = getattr(handler, "route_name", UNKNOWN_ROUTE)
        core.responses[name, handler.get_status()] += 1
        if core.settings.access_log:
            access_log.log_handler(handler)

    return RateLimitedApplication(
        tornado_rules(
            core.fast_routes,
            map(route_with_slash, routes),
            NotFoundHandler,
            error_response=problem_response,
            memory_budget=core.memory_budget,
        ),
        default_handler_class=UnknownRouteHandler,
        log_function=log_request,
        cross_origin_protection=True,
        proxied=bool(core.settings.trusted_proxies()),
        pages=core.pages,
        authenticate=core.apps.authenticate,
        rates=core.rate_limits,
        session_user=core.logins.find_user,
    )


def build_control_application(core: Core) -> Application:
    """Return the application of the control socket, which commands talk to."""
    routes = [route for feature in core.features for route in feature.control_routes]
    return Application(routes, log_function=lambda _: None)
