"""Every route with its method, an example URL, and the callers that it admits."""

from typing import NamedTuple

# Callers: anyone, a token with one of these scopes, or a logged-in owner with the session cookie.
ANYONE, OWNER = frozenset({"anyone", "write", "read", "admin", "owner"}), frozenset({"owner"})
WRITE, READ = frozenset({"write", "admin"}), frozenset({"read", "admin"})
# Sending requires the `write` scope, schemas require `admin`.
WRITE_ONLY, ADMIN = frozenset({"write"}), frozenset({"admin"})


class RouteCase(NamedTuple):
    """A method of a route, an example path, and the callers that may use it."""

    method: str
    pattern: str
    path: str
    callers: frozenset[str]


EVENTS = r"(?:/api/v1)?/events"
REJECTED = r"(?:/api/v1)?/rejected-events"
SCHEMAS = r"/api/v1/schemas"
TOKEN = r"([\w.~-]{1,100})"
HOST = r"([^/]{1,260})"
ROUTE_CASES = [
    RouteCase("GET", r"/", "/", ANYONE),
    RouteCase("GET", r"/healthz", "/healthz", ANYONE),
    RouteCase("GET", r"/readyz", "/readyz", ANYONE),
    RouteCase("GET", r"/metrics", "/metrics", ANYONE),
    RouteCase("GET", r"/api/v1/openapi\.json", "/api/v1/openapi.json", ANYONE),
    RouteCase("GET", r"/api/v1/docs", "/api/v1/docs/", ANYONE),
    RouteCase("GET", r"/static/(.*)", "/static/marquee.css", ANYONE),
    RouteCase("GET", r"/banners/(\d{1,19})", "/banners/101", ANYONE),
    RouteCase("GET", r"/campaigns/(\d{1,19})", "/campaigns/1/", ANYONE),
    RouteCase(
        "GET",
        r"/campaigns/(\d{1,19})/banners/(\d{1,19})/click",
        "/campaigns/1/banners/101/click",
        ANYONE,
    ),
    # A token with scope `read` adds stats to the response (test_campaign_page.py).
    RouteCase(
        "GET",
        r"/api/v1/campaigns/(\d{1,19})/candidates",
        "/api/v1/campaigns/1/candidates",
        ANYONE - {"write", "admin"},
    ),
    # These require only an app's public token in the path.
    *(
        RouteCase(method, pattern.format(TOKEN), pattern.format("token_1"), ANYONE)
        for methods, pattern in (
            ("GET OPTIONS", "/api/v1/stories/{}"),
            ("GET OPTIONS", "/api/v1/stories/cached/{}"),
            ("GET", "/api/v1/stories/{}/counts"),
            ("GET", "/api/v1/dau/{}"),
            ("POST OPTIONS", "/api/v1/event/{}"),
        )
        for method in methods.split()
    ),
    # These require a public token as `apikey`, else they return 401 (test_audience.py).
    *(
        RouteCase("GET", pattern, path + "?host=played.example&apikey=token_played", ANYONE)
        for pattern, path in (
            (r"/api/v1\.0/increasingconcurrents", "/api/v1.0/increasingconcurrents"),
            (r"/live/toppages", "/live/toppages/"),
            (r"/live/toppages/v3", "/live/toppages/v3/"),
            (rf"/live/{HOST}", "/live/played.example"),
            (rf"/live/{HOST}/stream", "/live/played.example/stream"),
            (rf"/api/v1/audience/{HOST}/rising", "/api/v1/audience/played.example/rising"),
            (rf"/api/v1/audience/{HOST}/history", "/api/v1/audience/played.example/history"),
            (rf"/api/v1/audience/{HOST}/stream", "/api/v1/audience/played.example/stream"),
        )
    ),
    RouteCase("GET", r"/static/beacon\.js", "/static/beacon.js", ANYONE),
    RouteCase("POST", rf"/api/v1/beacon/{TOKEN}", "/api/v1/beacon/token_played", ANYONE),
    RouteCase("OPTIONS", rf"/api/v1/beacon/{TOKEN}", "/api/v1/beacon/token_played", ANYONE),
    RouteCase("POST", r"/api/v1/conversions", "/api/v1/conversions", WRITE_ONLY),
    RouteCase("POST", rf"{EVENTS}", "/events", WRITE_ONLY),
    RouteCase("GET", rf"{EVENTS}", "/events", READ),
    RouteCase("DELETE", rf"{EVENTS}", "/events?session_id=nobody", WRITE),
    RouteCase("GET", rf"{EVENTS}/export", "/events/export", READ),
    RouteCase("GET", rf"{EVENTS}/(\d{{1,19}})", "/events/1", READ),
    RouteCase("PUT", rf"{EVENTS}/(\d{{1,19}})", "/events/1", WRITE),
    RouteCase("DELETE", rf"{EVENTS}/(\d{{1,19}})", "/events/1", WRITE),
    RouteCase("GET", REJECTED, "/rejected-events", READ),
    RouteCase("POST", rf"{REJECTED}/(\d{{1,19}})/replay", "/rejected-events/1/replay", WRITE),
    RouteCase("GET", SCHEMAS, "/api/v1/schemas", ADMIN),
    RouteCase("GET", rf"{SCHEMAS}/([^/]+)/([^/]+)", "/api/v1/schemas/a/b", ADMIN),
    RouteCase("PUT", rf"{SCHEMAS}/([^/]+)/([^/]+)", "/api/v1/schemas/a/b", ADMIN),
    RouteCase("DELETE", rf"{SCHEMAS}/([^/]+)/([^/]+)", "/api/v1/schemas/a/b", ADMIN),
    RouteCase("POST", rf"{SCHEMAS}/([^/]+)/([^/]+)/dry-run", "/api/v1/schemas/a/b/dry-run", ADMIN),
    RouteCase("GET", r"/admin/login", "/admin/login", ANYONE),
    RouteCase("POST", r"/admin/login", "/admin/login", ANYONE),
    RouteCase("POST", r"/admin/logout", "/admin/logout", ANYONE),
    # These require the token of the set-up link, else they return 404 (test_login.py).
    RouteCase("GET", r"/admin/setup", "/admin/setup", ANYONE),
    RouteCase("POST", r"/admin/setup", "/admin/setup", ANYONE),
    *(
        RouteCase(method, pattern, path or pattern, OWNER)
        for methods, pattern, path in (
            ("GET", r"/admin", "/admin/"),
            ("GET", r"/admin/live", ""),
            ("GET", r"/admin/health", ""),
            ("GET", r"/admin/audit", ""),
            ("GET POST", r"/admin/account", ""),
            ("GET POST", r"/admin/users", ""),
            ("GET POST", r"/admin/users/remove", ""),
            ("GET", r"/admin/campaigns", ""),
            ("GET", r"/admin/campaigns/(\d{1,19})", "/admin/campaigns/1"),
            ("GET", r"/admin/campaigns/(\d{1,19})/preview", "/admin/campaigns/1/preview"),
            ("GET POST", r"/admin/campaigns/upload", ""),
            ("GET", r"/admin/uploads/(\w{1,40})", "/admin/uploads/x"),
            ("GET", r"/admin/imports", ""),
            ("GET", r"/admin/imports/(\d{1,18})", "/admin/imports/1"),
            ("GET POST", r"/admin/apps", ""),
            ("GET POST", r"/admin/apps/(\d{1,18})", "/admin/apps/1"),
            ("POST", r"/admin/apps/(\d{1,18})/tokens", "/admin/apps/1/tokens"),
            ("GET POST", r"/admin/apps/(\d{1,18})/revoke", "/admin/apps/1/revoke"),
            ("GET", r"/admin/audience", ""),
            ("GET", r"/admin/stories", ""),
            ("GET POST", r"/admin/stories/edit", ""),
            ("GET POST", r"/admin/stories/(\d{1,19})/remove", "/admin/stories/999/remove"),
            ("GET", r"/admin/events", ""),
            ("GET", r"/admin/events/(\d{1,19})", "/admin/events/1"),
            ("GET POST", r"/admin/events/(\d{1,19})/delete", "/admin/events/1/delete"),
            ("GET", r"/admin/sessions", "/admin/sessions?id=x"),
            ("GET POST", r"/admin/sessions/erase", ""),
            ("GET", r"/admin/schemas", ""),
            ("GET POST", r"/admin/schemas/edit", ""),
            ("GET", r"/admin/rejected-events", ""),
            ("POST", r"/admin/rejected-events/replay", ""),
            ("GET POST", r"/admin/rejected-events/(\d{1,19})", "/admin/rejected-events/1"),
        )
        for method in methods.split()
    ),
]
