"""Apps and their tokens."""

from time import time_ns
from typing import Any
from urllib.parse import quote, urlencode

from domain.common.formatting import format_moment
from handlers.admin.admin_page import AdminPage, to_api_error
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from store.api.errors import StoreError
from store.sqlite.admin.apps import App, ChangeApp, CreateApp, ListApps, NewApp
from store.sqlite.admin.tokens import SCOPES, CreateToken, NewToken, RevokeToken
from store.sqlite.core.database import Database

APPS_PER_PAGE = 100


def routes(database: Database) -> list[Route]:
    """Return the routes of apps and tokens."""
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
    """The base of the pages about apps."""

    def initialize(self, database: Database) -> None:
        """Keep the database, which holds the apps."""
        self.database = database

    async def get_app(self, number: str) -> App:
        """Return the app with this id; raise 404 if there is none."""
        for app in await ListApps().run(self.database):
            if app.id == int(number):
                return app
        raise ApiError(404, "There is no app with this id.")

    @property
    def origin(self) -> str:
        """This server's origin, as the browser sees it."""
        return f"{self.request.protocol}://{self.request.host}"

    def send_token_page(
        self, title: str, new_token: NewApp | NewToken, app: App, scopes: str
    ) -> None:
        """Send the page that shows a new secret token once, with an example request."""
        host = next(iter(app.hosts), "www.example.com")
        self.send_page(
            "new_token.html",
            title,
            new_token=new_token,
            app=app.id,
            scopes=scopes,
            origin=self.origin,
            host=host,
            now=format_moment(time_ns() // 1000),
        )

    def send_app_page(self, app: App, status: int = 200, **values: Any) -> None:
        """Send the page of an app; `values` are added to its template's values."""
        src = f"{self.origin}/static/beacon.js"
        snippet = f'<script src="{src}" data-token="{app.public_token}" defer></script>'
        live_url = ""
        if app.hosts:
            query = urlencode({"apikey": app.public_token})
            live_url = f"/live/{quote(app.hosts[0], safe=':')}?{query}"
        self.send_page(
            "app.html",
            app.name,
            status,
            app=app,
            scopes=SCOPES,
            snippet=snippet,
            live_url=live_url,
            **values,
        )

    def form_hosts(self) -> tuple[str, ...]:
        """Return the hosts of a form, which commas or blanks separate."""
        return tuple(self.form_text("hosts").replace(",", " ").split())


class AdminAppsPage(AdminAppsBasePage):
    """`/admin/apps`: list apps and create one."""

    async def get(self) -> None:
        """Send the list."""
        await self.send_list()

    async def post(self) -> None:
        """Create an app and show its secret token once."""
        fields = {name: self.form_text(name) for name in ("name", "public_token", "hosts")}
        try:
            new_app = await CreateApp(
                fields["name"],
                fields["public_token"] or None,
                self.form_hosts(),
                self.form_checkbox("strict"),
                by=self.actor,
            ).run(self.database)
        except StoreError as error:
            api_error = to_api_error(error)
            await self.send_list(api_error.status_code, error=api_error.detail, fields=fields)
            return
        app = await self.get_app(str(new_app.id))
        self.send_token_page(f"{new_app.name}: secret token", new_app, app, "write read")

    async def send_list(self, status: int = 200, **values: Any) -> None:
        """Send a page of the list; `values` are added to its template's values."""
        after = self.int_argument("after") or 0
        apps = [app for app in await ListApps().run(self.database) if app.id > after]
        next_page_url = (
            self.page_url(after=apps[APPS_PER_PAGE - 1].id) if len(apps) > APPS_PER_PAGE else None
        )
        values = {
            "apps": apps[:APPS_PER_PAGE],
            "next_page_url": next_page_url,
            "fields": {},
            **values,
        }
        self.send_page("apps.html", "Apps", status, **values)


class AdminAppDetailPage(AdminAppsBasePage):
    """`/admin/apps/{id}`: show and change an app."""

    done_messages = {"changed": "The app is saved.", "revoked": "The token is revoked."}  # noqa: RUF012

    async def get(self, number: str) -> None:
        """Send the page of the app and its tokens."""
        self.send_app_page(await self.get_app(number))

    async def post(self, number: str) -> None:
        """Change the hosts, and whether event types need a schema."""
        app = await self.get_app(number)
        try:
            command = ChangeApp(
                number, hosts=self.form_hosts(), strict=self.form_checkbox("strict"), by=self.actor
            )
            await command.run(self.database)
        except StoreError as error:
            api_error = to_api_error(error)
            self.send_app_page(app, api_error.status_code, error=api_error.detail)
            return
        self.redirect_done(f"/admin/apps/{app.id}", "changed")


class AdminAppTokensPage(AdminAppsBasePage):
    """`/admin/apps/{id}/tokens`: create a token."""

    async def post(self, number: str) -> None:
        """Create a token and show it once."""
        app = await self.get_app(number)
        scopes = tuple(self.get_body_arguments("scopes"))
        try:
            new_token = await CreateToken(str(app.id), scopes, by=self.actor).run(self.database)
        except StoreError as error:
            api_error = to_api_error(error)
            detail = api_error.detail if scopes else "Select at least one scope."
            self.send_app_page(app, api_error.status_code, error=detail)
            return
        scope_names = " ".join(new_token.scopes)
        self.send_token_page(f"{app.name}: new token", new_token, app, scope_names)


class AdminTokenRevokePage(AdminAppsBasePage):
    """`/admin/apps/{id}/revoke?token=`: revoke a token."""

    async def get(self, number: str) -> None:
        """Send the confirmation page."""
        app = await self.get_app(number)
        token = self.int_argument("token")
        found = next((each for each in app.tokens if each.id == token), None)
        if found is None:
            raise ApiError(404, "This app has no such token.")
        self.send_page("revoke_token.html", "Revoke a token", app=app, token=found)

    async def post(self, number: str) -> None:
        """Revoke the token."""
        app = await self.get_app(number)
        token = self.form_number("token")
        if token not in (each.id for each in app.tokens):
            raise ApiError(404, "This app has no such token.")
        try:
            await RevokeToken(str(token), by=self.actor).run(self.database)
        except StoreError as error:
            raise to_api_error(error) from None
        self.redirect_done(f"/admin/apps/{app.id}", "revoked")
