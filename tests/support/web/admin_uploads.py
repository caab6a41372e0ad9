"""Apps made and campaigns uploaded through the admin pages."""

import re
import time

from tests.support.events.hostile_bodies import event_body
from tests.support.web.admin_session import AdminBrowser, page_text


class AdminPagesApp:
    """An app that was made in the pages."""

    def __init__(self, owner: AdminBrowser, name: str, **fields: str) -> None:
        page = owner.post("/admin/apps", name=name, **fields)
        assert page.status == 200, page_text(page)
        self.server = owner.server
        self.secret_token = re.search(r'id="token">([^<]+)<', page.text)[1]
        self.id = re.search(r"/admin/apps/(\d+)", page.text)[1]

    def send(self, **event):
        said = {"Authorization": f"Bearer {self.secret_token}", "Content_Type": "application/json"}
        return self.server.request("/events", "POST", event_body(**event), **said)


def encode_multipart(*files: tuple[str, bytes]) -> tuple[bytes, str]:
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + b"--edge--\r\n", "multipart/form-data; boundary=edge"


def upload_files(owner: AdminBrowser, *files: tuple[str, bytes]):
    content, kind = encode_multipart(*files)
    headers = owner.with_cookie({"Content_Type": kind, "Sec_Fetch_Site": "same-origin"})
    return owner.server.request("/admin/campaigns/upload", "POST", content, **headers)


def wait_for_upload(owner: AdminBrowser, answer) -> str:
    """What became of an upload, in words."""
    assert answer.status == 303, page_text(answer)
    for _ in range(1_200):
        page = owner.get(answer.headers["Location"])
        if "data-reload-ms" not in page.text:
            return page_text(page)
        assert 'http-equiv="refresh"' in page.text  # with scripts off, too, it goes on
        time.sleep(0.1)
    raise AssertionError("it does not end")


def campaign_files(number: int, *, bad: int = 0, earns: int = 3) -> list[tuple[str, bytes]]:
    """A folder with one campaign, in which the banners `earns`, 2 and 1 earn in this order."""
    files = []
    for slot in range(1, 5):
        base = number * 1000 + slot * 100
        clicks = [f"{base + n},{n},{number}" for n in range(1, 6)] + ["x,y,z"] * bad
        earned = [(earns, 9), (2, 5), (1, 4)]
        sold = [f"{base + n},{base + n},{revenue}" for n, revenue in earned]
        shown = [f"{n},{number}" for n in range(1, 6 + slot)]
        for kind, head, rows in (
            ("clicks", "click_id,banner_id,campaign_id", clicks),
            ("conversions", "conversion_id,click_id,revenue", sold),
            ("impressions", "banner_id,campaign_id", shown),
        ):
            content = "\n".join([head, *rows, ""]).encode()
            files.append((f"mine/{slot}/{kind}_{slot}.csv", content))
    return files
