"""Admin pages: HTML behind a login, and forms that only a browser sends."""

from handlers.openapi.operation import (
    EVENT_STREAM,
    FORM_URLENCODED,
    HTML,
    STRING_SCHEMA,
    ApiOperation,
    ApiParameter,
    ApiRequestBody,
    ApiResource,
    ApiResponse,
)

LOGIN_REDIRECT = ApiResponse("Not logged in.", headers={"Location": "The login page."})
SUCCESS_REDIRECT = ApiResponse("Success.", headers={"Location": "A page with the confirmation."})
RESULT_PAGE = ApiResponse("A page with the result or the errors.", STRING_SCHEMA, HTML)
STORY_FORM_FIELDS = ("metadata", "order", "from", "until")
EVENT_SEARCH_FIELDS = (
    "session_id",
    "category",
    "name",
    "app",
    "source",
    "from",
    "to",
    "order",
    "cursor",
)
SAME_ORIGIN_NOTE = (
    "The form must come from an admin page; the server checks `Sec-Fetch-Site` and `Origin`."
)


def page_operation(path: str, summary: str, *names: str) -> ApiOperation:
    """Describe the GET of an admin page with these query parameters."""
    responses = {200: ApiResponse("The page.", STRING_SCHEMA, HTML), 303: LOGIN_REDIRECT}
    parameters = [ApiParameter(name, "As set by the links of the page.") for name in names]
    errors = {**_not_found_errors(path), **({422: "A parameter is invalid."} if names else {})}
    return ApiOperation(
        "GET",
        path,
        summary,
        responses,
        parameters,
        errors=errors,
        requires_login=True,
        html_errors=True,
    )


def form_operation(
    path: str, summary: str, *names: str, media_type: str = FORM_URLENCODED
) -> ApiOperation:
    """Describe the POST of a form with these fields."""
    fields = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
    }
    responses = {200: RESULT_PAGE, 303: SUCCESS_REDIRECT, 422: RESULT_PAGE}
    bodies = [ApiRequestBody(fields, dict.fromkeys(names, ""), media_type)] if names else []
    errors = {
        401: "Not logged in.",
        403: "The form was sent from another site.",
        **_not_found_errors(path),
    }
    if path in ("/admin/login", "/admin/account"):
        errors[429] = "Too many failed logins: try again after `Retry-After` seconds."
    return ApiOperation(
        "POST",
        path,
        summary,
        responses,
        (),
        bodies,
        errors=errors,
        description=SAME_ORIGIN_NOTE,
        requires_login=True,
        html_errors=True,
    )


def _not_found_errors(path: str) -> dict[int, str]:
    names_item = "{" in path or path == "/admin/stories/edit"
    errors = {404: "Not found, or deleted."} if names_item else {}
    if path == "/admin/setup":
        errors[404] = "A user exists already, or the token of the link is invalid."
    return errors


ADMIN_RESOURCE = ApiResource(
    "Admin pages",
    "HTML pages for a browser, behind a login. Listed here for completeness.",
    (
        page_operation("/admin/login", "Log in", "next"),
        form_operation("/admin/login", "Log in", "name", "password", "next"),
        form_operation("/admin/logout", "Log out"),
        page_operation("/admin/setup", "Create the first user", "token"),
        form_operation(
            "/admin/setup", "Create the first user", "token", "name", "password", "again"
        ),
        page_operation("/admin", "Overview"),
        ApiOperation(
            "GET",
            "/admin/live",
            "Stream the charts of the overview",
            {200: ApiResponse("Server-sent events.", STRING_SCHEMA, EVENT_STREAM)},
            requires_login=True,
            html_errors=True,
        ),
        page_operation("/admin/health", "Health"),
        page_operation("/admin/audit", "Audit log", "who", "before"),
        page_operation("/admin/account", "Own account"),
        form_operation("/admin/account", "Change the own password", "name", "old", "new", "again"),
        page_operation("/admin/users", "Users"),
        form_operation("/admin/users", "Create a user", "name"),
        page_operation("/admin/users/remove", "Confirm the removal of a user", "name"),
        form_operation("/admin/users/remove", "Remove a user", "name"),
        page_operation("/admin/campaigns", "Campaigns", "number", "slot", "after"),
        page_operation("/admin/campaigns/{number}", "Candidates of a campaign", "slot"),
        page_operation(
            "/admin/campaigns/{number}/preview",
            "Preview a campaign page in any slot",
            "slot",
            "last",
        ),
        page_operation("/admin/campaigns/upload", "Upload campaigns"),
        form_operation(
            "/admin/campaigns/upload",
            "Upload campaigns",
            "folder",
            "files",
            media_type="multipart/form-data",
        ),
        page_operation("/admin/uploads/{upload}", "Progress of an upload"),
        page_operation("/admin/imports", "Imports", "before"),
        page_operation("/admin/imports/{number}", "An import and its rejected rows", "before"),
        page_operation("/admin/apps", "Apps", "after"),
        form_operation("/admin/apps", "Create an app", "name", "public_token", "hosts", "strict"),
        page_operation("/admin/apps/{number}", "App and its tokens"),
        form_operation("/admin/apps/{number}", "Change an app", "hosts", "strict"),
        form_operation("/admin/apps/{number}/tokens", "Create a token", "scopes"),
        page_operation("/admin/apps/{number}/revoke", "Confirm the revocation of a token", "token"),
        form_operation("/admin/apps/{number}/revoke", "Revoke a token", "token"),
        page_operation("/admin/audience", "Rising pages", "start"),
        page_operation("/admin/stories", "Stories", "app", "start"),
        page_operation("/admin/stories/edit", "Edit a story", "id", "app"),
        form_operation("/admin/stories/edit", "Save a story", "id", "app", *STORY_FORM_FIELDS),
        page_operation("/admin/stories/{number}/remove", "Confirm the removal of a story"),
        form_operation("/admin/stories/{number}/remove", "Remove a story"),
        page_operation("/admin/events", "Search events", *EVENT_SEARCH_FIELDS),
        page_operation("/admin/events/{id}", "Event"),
        page_operation("/admin/events/{id}/delete", "Confirm the deletion of an event"),
        form_operation("/admin/events/{id}/delete", "Delete an event"),
        page_operation("/admin/sessions", "Timeline of a session", "id", "cursor"),
        page_operation("/admin/sessions/erase", "Confirm the erasure of a session", "id"),
        form_operation("/admin/sessions/erase", "Erase a session", "id"),
        page_operation("/admin/schemas", "Event schemas", "start"),
        page_operation("/admin/schemas/edit", "Edit an event schema", "app", "category", "name"),
        form_operation(
            "/admin/schemas/edit",
            "Dry-run or save an event schema",
            "app",
            "category",
            "name",
            "schema",
            "action",
        ),
        page_operation("/admin/rejected-events", "Rejected events", "app", "from", "to", "before"),
        form_operation("/admin/rejected-events/replay", "Replay all rejected events", "app"),
        page_operation("/admin/rejected-events/{number}", "Rejected event"),
        form_operation("/admin/rejected-events/{number}", "Replay a rejected event"),
    ),
)
