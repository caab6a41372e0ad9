"""The owner's pages: HTML for whoever is logged in; forms that only a browser sends."""

from handlers.docs.operations import (
    FORM,
    HTML,
    STREAM,
    TEXT_BODY,
    Answer,
    Argument,
    Body,
    Operation,
    Resource,
)

AWAY = Answer("You are to log in first.", headers={"Location": "Where."})
DONE = Answer("It is done.", headers={"Location": "A page that says so."})
SHOWN = Answer("A page with the result, or with what is wrong.", TEXT_BODY, HTML)
STORY = ("metadata", "order", "from", "until")
SEARCH = ("session_id", "category", "name", "app", "source", "from", "to", "order", "cursor")
BEHIND = "The form has to come from one of these pages: `Sec-Fetch-Site` and `Origin` tell."


def page(path: str, summary: str, *names: str) -> Operation:
    """A page, and the arguments of its address."""
    answers = {200: Answer("The page.", TEXT_BODY, HTML), 303: AWAY}
    arguments = [Argument(name, "As the page's links have it.") for name in names]
    wrong = {**_missing(path), **({422: "An argument is wrong."} if names else {})}
    return Operation(
        "GET", path, summary, answers, arguments, wrong=wrong, owner=True, for_people=True
    )


def form(path: str, summary: str, *names: str, kind: str = FORM) -> Operation:
    """A form of a page, and its fields."""
    fields = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
    }
    answers = {200: SHOWN, 303: DONE, 422: SHOWN}
    bodies = [Body(fields, dict.fromkeys(names, ""), kind)] if names else []
    wrong = {401: "You are to log in first.", 403: "It comes from elsewhere.", **_missing(path)}
    if path in ("/admin/login", "/admin/account"):
        wrong[429] = "There were too many wrong ones: again after `Retry-After` seconds."
    return Operation(
        "POST",
        path,
        summary,
        answers,
        (),
        bodies,
        wrong=wrong,
        words=BEHIND,
        owner=True,
        for_people=True,
    )


def _missing(path: str) -> dict[int, str]:
    named = "{" in path or path == "/admin/stories/edit"
    missing = {404: "There is no such thing (any more)."} if named else {}
    if path == "/admin/setup":
        missing[404] = "There is a user already, or this is not the link's token."
    return missing


RESOURCE = Resource(
    "Owner's pages",
    "For people, in a browser, behind a login; told here so that the list is whole.",
    (
        page("/admin/login", "Log in", "next"),
        form("/admin/login", "Begin a session", "name", "password", "next"),
        form("/admin/logout", "End the session"),
        page("/admin/setup", "Make the first user", "token"),
        form("/admin/setup", "Make the first user", "token", "name", "password", "again"),
        page("/admin", "Overview"),
        Operation(
            "GET",
            "/admin/live",
            "The overview's charts, beat for beat",
            {200: Answer("Server-sent events.", TEXT_BODY, STREAM)},
            owner=True,
            for_people=True,
        ),
        page("/admin/health", "How it is"),
        page("/admin/audit", "What owners changed", "who", "before"),
        page("/admin/account", "One's own password"),
        form("/admin/account", "Change it", "name", "old", "new", "again"),
        page("/admin/users", "Who may log in"),
        form("/admin/users", "Make a user", "name"),
        page("/admin/users/remove", "Remove a user?", "name"),
        form("/admin/users/remove", "Remove a user", "name"),
        page("/admin/campaigns", "Campaigns", "number", "slot", "after"),
        page("/admin/campaigns/{number}", "What a campaign shows, and why", "slot"),
        page("/admin/campaigns/{number}/preview", "A campaign's page at any time", "slot", "last"),
        page("/admin/campaigns/upload", "Upload campaigns"),
        form(
            "/admin/campaigns/upload",
            "Upload campaigns",
            "folder",
            "files",
            kind="multipart/form-data",
        ),
        page("/admin/uploads/{upload}", "How an upload does"),
        page("/admin/imports", "Imports", "before"),
        page("/admin/imports/{number}", "An import, and the rows that it did not take", "before"),
        page("/admin/apps", "Apps", "after"),
        form("/admin/apps", "Make an app", "name", "public_token", "hosts", "strict"),
        page("/admin/apps/{number}", "An app and its tokens"),
        form("/admin/apps/{number}", "Change an app", "hosts", "strict"),
        form("/admin/apps/{number}/tokens", "Make a token", "scopes"),
        page("/admin/apps/{number}/revoke", "Revoke a token?", "token"),
        form("/admin/apps/{number}/revoke", "Revoke a token", "token"),
        page("/admin/audience", "Rising pages", "start"),
        page("/admin/stories", "Stories", "app", "start"),
        page("/admin/stories/edit", "A story", "id", "app"),
        form("/admin/stories/edit", "Keep a story", "id", "app", *STORY),
        page("/admin/stories/{number}/remove", "Remove a story?"),
        form("/admin/stories/{number}/remove", "Remove a story"),
        page("/admin/events", "Find events", *SEARCH),
        page("/admin/events/{id}", "An event"),
        page("/admin/events/{id}/delete", "Delete an event?"),
        form("/admin/events/{id}/delete", "Delete an event"),
        page("/admin/sessions", "A session, moment by moment", "id", "cursor"),
        page("/admin/sessions/forget", "Forget a session?", "id"),
        form("/admin/sessions/forget", "Forget a session", "id"),
        page("/admin/rules", "Event rules", "start"),
        page("/admin/rules/edit", "A rule", "app", "category", "name"),
        form("/admin/rules/edit", "Try or set a rule", "app", "category", "name", "schema", "deed"),
        page("/admin/rejects", "Rejected events", "app", "from", "to", "before"),
        form("/admin/rejects/replay", "Take all that are right by now", "app"),
        page("/admin/rejects/{number}", "A rejected event"),
        form("/admin/rejects/{number}", "Take it now"),
    ),
)
