"""The owner's pages: HTML for whoever is logged in; forms that only a browser sends."""

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

LOGIN_REDIRECT = ApiResponse("You are to log in first.", headers={"Location": "Where."})
SUCCESS_REDIRECT = ApiResponse("It is done.", headers={"Location": "A page that says so."})
RESULT_PAGE = ApiResponse("A page with the result, or with what is wrong.", STRING_SCHEMA, HTML)
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
    "The form has to come from one of these pages: `Sec-Fetch-Site` and `Origin` tell."
)


def page_operation(path: str, summary: str, *names: str) -> ApiOperation:
    """A page, and the arguments of its address."""
    answers = {200: ApiResponse("The page.", STRING_SCHEMA, HTML), 303: LOGIN_REDIRECT}
    arguments = [ApiParameter(name, "As the page's links have it.") for name in names]
    wrong = {**_not_found_errors(path), **({422: "An argument is wrong."} if names else {})}
    return ApiOperation(
        "GET", path, summary, answers, arguments, wrong=wrong, owner=True, for_people=True
    )


def form_operation(
    path: str, summary: str, *names: str, kind: str = FORM_URLENCODED
) -> ApiOperation:
    """A form of a page, and its fields."""
    fields = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
    }
    answers = {200: RESULT_PAGE, 303: SUCCESS_REDIRECT, 422: RESULT_PAGE}
    bodies = [ApiRequestBody(fields, dict.fromkeys(names, ""), kind)] if names else []
    wrong = {
        401: "You are to log in first.",
        403: "It comes from elsewhere.",
        **_not_found_errors(path),
    }
    if path in ("/admin/login", "/admin/account"):
        wrong[429] = "There were too many wrong ones: again after `Retry-After` seconds."
    return ApiOperation(
        "POST",
        path,
        summary,
        answers,
        (),
        bodies,
        wrong=wrong,
        words=SAME_ORIGIN_NOTE,
        owner=True,
        for_people=True,
    )


def _not_found_errors(path: str) -> dict[int, str]:
    named = "{" in path or path == "/admin/stories/edit"
    missing = {404: "There is no such thing (any more)."} if named else {}
    if path == "/admin/setup":
        missing[404] = "There is a user already, or this is not the link's token."
    return missing


ADMIN_RESOURCE = ApiResource(
    "Owner's pages",
    "For people, in a browser, behind a login; told here so that the list is whole.",
    (
        page_operation("/admin/login", "Log in", "next"),
        form_operation("/admin/login", "Begin a session", "name", "password", "next"),
        form_operation("/admin/logout", "End the session"),
        page_operation("/admin/setup", "Make the first user", "token"),
        form_operation("/admin/setup", "Make the first user", "token", "name", "password", "again"),
        page_operation("/admin", "Overview"),
        ApiOperation(
            "GET",
            "/admin/live",
            "The overview's charts, beat for beat",
            {200: ApiResponse("Server-sent events.", STRING_SCHEMA, EVENT_STREAM)},
            owner=True,
            for_people=True,
        ),
        page_operation("/admin/health", "How it is"),
        page_operation("/admin/audit", "What owners changed", "who", "before"),
        page_operation("/admin/account", "One's own password"),
        form_operation("/admin/account", "Change it", "name", "old", "new", "again"),
        page_operation("/admin/users", "Who may log in"),
        form_operation("/admin/users", "Make a user", "name"),
        page_operation("/admin/users/remove", "Remove a user?", "name"),
        form_operation("/admin/users/remove", "Remove a user", "name"),
        page_operation("/admin/campaigns", "Campaigns", "number", "slot", "after"),
        page_operation("/admin/campaigns/{number}", "What a campaign shows, and why", "slot"),
        page_operation(
            "/admin/campaigns/{number}/preview", "A campaign's page at any time", "slot", "last"
        ),
        page_operation("/admin/campaigns/upload", "Upload campaigns"),
        form_operation(
            "/admin/campaigns/upload",
            "Upload campaigns",
            "folder",
            "files",
            kind="multipart/form-data",
        ),
        page_operation("/admin/uploads/{upload}", "How an upload does"),
        page_operation("/admin/imports", "Imports", "before"),
        page_operation(
            "/admin/imports/{number}", "An import, and the rows that it did not take", "before"
        ),
        page_operation("/admin/apps", "Apps", "after"),
        form_operation("/admin/apps", "Make an app", "name", "public_token", "hosts", "strict"),
        page_operation("/admin/apps/{number}", "An app and its tokens"),
        form_operation("/admin/apps/{number}", "Change an app", "hosts", "strict"),
        form_operation("/admin/apps/{number}/tokens", "Make a token", "scopes"),
        page_operation("/admin/apps/{number}/revoke", "Revoke a token?", "token"),
        form_operation("/admin/apps/{number}/revoke", "Revoke a token", "token"),
        page_operation("/admin/audience", "Rising pages", "start"),
        page_operation("/admin/stories", "Stories", "app", "start"),
        page_operation("/admin/stories/edit", "A story", "id", "app"),
        form_operation("/admin/stories/edit", "Keep a story", "id", "app", *STORY_FORM_FIELDS),
        page_operation("/admin/stories/{number}/remove", "Remove a story?"),
        form_operation("/admin/stories/{number}/remove", "Remove a story"),
        page_operation("/admin/events", "Find events", *EVENT_SEARCH_FIELDS),
        page_operation("/admin/events/{id}", "An event"),
        page_operation("/admin/events/{id}/delete", "Delete an event?"),
        form_operation("/admin/events/{id}/delete", "Delete an event"),
        page_operation("/admin/sessions", "A session, moment by moment", "id", "cursor"),
        page_operation("/admin/sessions/forget", "Forget a session?", "id"),
        form_operation("/admin/sessions/forget", "Forget a session", "id"),
        page_operation("/admin/rules", "Event rules", "start"),
        page_operation("/admin/rules/edit", "A rule", "app", "category", "name"),
        form_operation(
            "/admin/rules/edit", "Try or set a rule", "app", "category", "name", "schema", "deed"
        ),
        page_operation("/admin/rejects", "Rejected events", "app", "from", "to", "before"),
        form_operation("/admin/rejects/replay", "Take all that are right by now", "app"),
        page_operation("/admin/rejects/{number}", "A rejected event"),
        form_operation("/admin/rejects/{number}", "Take it now"),
    ),
)
