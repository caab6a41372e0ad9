"""Apps created and campaigns uploaded through the admin pages."""

import time

from tests.support.events.hostile_bodies import event_body
from tests.support.server_process import ServerResponse
from tests.support.web.admin_session import AdminBrowser, find_text, page_text


class AdminPagesApp:
    """An app created in the admin pages, as a client of the events API."""

    def __init__(self, owner: AdminBrowser, name: str, **fields: str) -> None:
        page = owner.post("/admin/apps", name=name, **fields)
        assert page.status == 200, page_text(page)
        self.server = owner.server
        self.secret_token = find_text(r'id="token">([^<]+)<', page)
        self.id = find_text(r"/admin/apps/(\d+)", page)

    def send(self, **members: object) -> ServerResponse:
        """Send an event that is valid but for `members`."""
        headers = {"Authorization": f"Bearer {self.secret_token}"}
        headers["Content_Type"] = "application/json"
        response: ServerResponse = self.server.request(
            "/events", "POST", event_body(**members), **headers
        )
        return response


def encode_multipart(*files: tuple[str, bytes]) -> tuple[bytes, str]:
    """Return the body and the Content-Type of a form with files."""
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + b"--edge--\r\n", "multipart/form-data; boundary=edge"


def upload_files(owner: AdminBrowser, *files: tuple[str, bytes]) -> ServerResponse:
    body, content_type = encode_multipart(*files)
    headers = owner.with_cookie({"Content_Type": content_type, "Sec_Fetch_Site": "same-origin"})
    response: ServerResponse = owner.server.request(
        "/admin/campaigns/upload", "POST", body, **headers
    )
    return response


def wait_for_upload(owner: AdminBrowser, response: ServerResponse) -> str:
    """Return the text of the page that reports a finished upload."""
    assert response.status == 303, page_text(response)
    for _ in range(1_200):
        page = owner.get(response.headers["Location"])
        if "data-reload-ms" not in page.text:
            return page_text(page)
        assert 'http-equiv="refresh"' in page.text  # reloads without scripts too
        time.sleep(0.1)
    raise AssertionError("the upload does not end")


def campaign_files(
    number: int, *, bad_rows: int = 0, top_banner: int = 3
) -> list[tuple[str, bytes]]:
    """Return the files of a campaign in which `top_banner`, 2 and 1 have the highest revenue."""
    files = []
    for slot in range(1, 5):
        base = number * 1000 + slot * 100
        clicks = [f"{base + n},{n},{number}" for n in range(1, 6)] + ["x,y,z"] * bad_rows
        revenues = [(top_banner, 9), (2, 5), (1, 4)]
        conversions = [f"{base + n},{base + n},{revenue}" for n, revenue in revenues]
        impressions = [f"{n},{number}" for n in range(1, 6 + slot)]
        for kind, head, rows in (
            ("clicks", "click_id,banner_id,campaign_id", clicks),
            ("conversions", "conversion_id,click_id,revenue", conversions),
            ("impressions", "banner_id,campaign_id", impressions),
        ):
            content = "\n".join([head, *rows, ""]).encode()
            files.append((f"mine/{slot}/{kind}_{slot}.csv", content))
    return files
