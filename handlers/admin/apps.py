"""Apps and their tokens."""

from time import time_ns
from typing import Any
from urllib.parse import quote, urlencode

from domain.common.formatting import format_moment
from handlers.admin.admin_page import AdminPage, store_error_refusal
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from store.api.errors import StoreError
from store.sqlite.admin.apps import (
    SCOPES,
    App,
    ChangeApp,
    CreateApp,
    CreateToken,
    ListApps,
    NewApp,
    NewToken,
    RevokeToken,
)
from store.sqlite.core.database import Database

APPS_PER_PAGE = 100


def routes(database: Database) -> list[Route]:
    """Where these are."""
    parts = {"database": database}
    return [
        Route(r"/admin/apps", AdminAppsPage, parts, "admin apps"),
        Route(r"/admin/apps/(\d{1,18})", AdminAppDetailPage, parts, "admin app"),
        Route(r"/admin/apps/(\d{1,18})/tokens", AdminAppTokensPage, parts, "admin app tokens"),
        Route(
            r"/admin/apps/(\d{1,18})/revoke", AdminTokenRevokePage, parts, "admin token revocation"
        ),
    ]


class AdminAppsBasePage(AdminPage):
    """What has to do with apps."""

    def initialize(self, database: Database) -> None:
        """`database` holds them."""
        self.database = database

    async def app(self, number: str) -> App:
        """The app; raises 404."""
        for app in await ListApps().run(self.database):
            if app.id == int(number):
                return app
        raise ApiError(404, "There is no app with this number.")

    @property
    def address(self) -> str:
        """This server's origin, as the browser sees it."""
        return f"{self.request.protocol}://{self.request.host}"

    def show_token(self, title: str, made: NewApp | NewToken, app: App, scopes: str) -> None:
        """Answer with a token, which is not to be seen again, and how to use it."""
        host = next(iter(app.hosts), "www.example.com")
        self.show(
            "new_token.html",
            title,
            made=made,
            app=app.id,
            scopes=scopes,
            address=self.address,
            host=host,
            now=format_moment(time_ns() // 1000),
        )

    def one(self, app: App, status: int = 200, **more: Any) -> None:
        """Send the page of an app; `more` are further values of its template."""
        src = f"{self.address}/static/beacon.js"
        snippet = f'<script src="{src}" data-token="{app.public_token}" defer></script>'
        live = ""
        if app.hosts:
            query = urlencode({"apikey": app.public_token})
            live = f"/live/{quote(app.hosts[0], safe=':')}?{query}"
        self.show(
            "app.html", app.name, status, app=app, scopes=SCOPES, snippet=snippet, live=live, **more
        )

    def hosts(self) -> tuple[str, ...]:
        """The hosts of a form: one a line, or with commas or blanks between."""
        return tuple(self.said("hosts").replace(",", " ").split())


class AdminAppsPage(AdminAppsBasePage):
    """`/admin/apps`: all of them, and a new one."""

    async def get(self) -> None:
        """The list."""
        await self.list()

    async def post(self) -> None:
        """Make one, whose token is shown once."""
        fields = {name: self.said(name) for name in ("name", "public_token", "hosts")}
        try:
            made = await CreateApp(
                fields["name"],
                fields["public_token"] or None,
                self.hosts(),
                self.ticked("strict"),
                by=self.by,
            ).run(self.database)
        except StoreError as error:
            refusal = store_error_refusal(error)
            await self.list(refusal.status_code, wrong=refusal.detail, fields=fields)
            return
        app = await self.app(str(made.id))
        self.show_token(f"{made.name} is made", made, app, "write read")

    async def list(self, status: int = 200, **more: Any) -> None:
        """Answer with the list, and `more`."""
        after = self.int_argument("after") or 0
        apps = [app for app in await ListApps().run(self.database) if app.id > after]
        further = (
            self.query(after=apps[APPS_PER_PAGE - 1].id) if len(apps) > APPS_PER_PAGE else None
        )
        values = {"apps": apps[:APPS_PER_PAGE], "further": further, "fields": {}, **more}
        self.show("apps.html", "Apps", status, **values)


class AdminAppDetailPage(AdminAppsBasePage):
    """`/admin/apps/{id}`."""

    deeds = {"changed": "That is how it is now.", "revoked": "The token is refused from now on."}  # noqa: RUF012

    async def get(self, number: str) -> None:
        """The app and its tokens."""
        self.one(await self.app(number))

    async def post(self, number: str) -> None:
        """Change its hosts, and whether it is strict."""
        app = await self.app(number)
        try:
            command = ChangeApp(
                number, hosts=self.hosts(), strict=self.ticked("strict"), by=self.by
            )
            await command.run(self.database)
        except StoreError as error:
            refusal = store_error_refusal(error)
            self.one(app, refusal.status_code, wrong=refusal.detail)
            return
        self.done(f"/admin/apps/{app.id}", "changed")


class AdminAppTokensPage(AdminAppsBasePage):
    """`/admin/apps/{id}/tokens`: another one."""

    async def post(self, number: str) -> None:
        """Make it, and show it once."""
        app = await self.app(number)
        scopes = tuple(self.get_body_arguments("scopes"))
        try:
            made = await CreateToken(str(app.id), scopes, by=self.by).run(self.database)
        except StoreError as error:
            refusal = store_error_refusal(error)
            words = "Tick what the token may do." if not scopes else refusal.detail
            self.one(app, refusal.status_code, wrong=words)
            return
        self.show_token(f"A token of {app.name}", made, app, " ".join(made.scopes))


class AdminTokenRevokePage(AdminAppsBasePage):
    """`/admin/apps/{id}/revoke?token=`: asks once more."""

    async def get(self, number: str) -> None:
        """The question."""
        app = await self.app(number)
        token = self.int_argument("token")
        found = next((each for each in app.tokens if each.id == token), None)
        if found is None:
            raise ApiError(404, "This app has no such token.")
        self.show("revoke_token.html", "Revoke a token", app=app, token=found)

    async def post(self, number: str) -> None:
        """Revoke it."""
        app = await self.app(number)
        token = self.whole("token")
        if token not in (each.id for each in app.tokens):
            raise ApiError(404, "This app has no such token.")
        try:
            await RevokeToken(str(token), by=self.by).run(self.database)
        except StoreError as error:
            raise store_error_refusal(error) from None
        self.done(f"/admin/apps/{app.id}", "revoked")
