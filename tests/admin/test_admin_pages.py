"""The owner's pages, from outside: what they show, what they change."""

import contextlib
import io
import json
import re
import socket
import struct
import time
import zipfile
from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from tests.support.web.admin_session import AdminBrowser, owner_credentials, page_text
from tests.support.web.admin_uploads import (
    AdminPagesApp,
    campaign_files,
    encode_multipart,
    upload_files,
    wait_for_upload,
)

EVIL = "<script>alert(1)</script>\"'&"
SESSION = "0d3f7a52-0000-4e4e-80b5-f1ffddc25423"


@pytest.fixture(scope="module")
def owner(sample_server) -> AdminBrowser:
    time.sleep(0.3)
    return AdminBrowser(sample_server).log_in(*owner_credentials(sample_server))


@pytest.fixture(scope="module")
def app(owner) -> "AdminPagesApp":
    return AdminPagesApp(owner, "Shop")


def zipped(files: list[tuple[str, bytes]]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return made.getvalue()


@pytest.mark.parametrize(
    "path",
    ["", "campaigns", "campaigns?slot=3", "campaigns/1", "campaigns/1?slot=4",
     "campaigns/1/preview", "campaigns/upload", "imports", "imports/1", "apps", "apps/1",
     "audience", "stories", "stories?app=2", "stories?app=99", "stories/edit", "stories/edit?id=1",
     "stories/1/remove", "events", "events?order=asc", "schemas", "schemas/edit", "rejected-events",
     "health", "users", "audit", "account"],
)  # fmt: skip
def test_every_page_is_there_small_and_sound(owner, path):
    answer = owner.get(f"/admin/{path}")
    assert answer.status == 200
    assert len(answer.body) < 60_000
    text = answer.text
    assert text.count("<h1>") == 1 and text.count("<main") == 1
    assert 'lang="en"' in text and "viewport" in text
    # Nothing that the policy would have to allow, and nothing from elsewhere.
    assert not re.search(r"<[^>]+\s(style|on\w+)=", text)
    assert not re.search(r"<script(?![^>]*src=)", text) and "<style" not in text
    assert not re.search(r'(src|href|action)="(?!/)', text.replace('href="#main"', ""))
    # Each field has words.
    for field in re.findall(r"<(?:input|select|textarea)\b[^>]*>", text):
        before = text[: text.index(field)]
        assert "hidden" in field or before.rfind("<label") > before.rfind("</label>"), field
    assert "no-store" in answer.headers["Cache-Control"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("campaigns/99999999", 404), ("campaigns/1?slot=5", 422), ("apps/999", 404), ("nothing", 404),
     ("events/1", 404), ("events/9999999999999999999", 404), ("rejected-events/1", 404),
     ("imports/999", 404), ("stories/999/remove", 404),
     ("stories/edit?id=999", 404), ("stories?start=x", 422), ("uploads/nothing", 404),
     ("apps/1/revoke?token=999", 404),
     ("events?from=yesterday", 422), ("events?cursor=%ff", 400), ("events?cursor=zz", 422),
     ("events?source=nowhere", 422), ("events?app=-1", 422), ("rejected-events?app=x", 422),
     ("campaigns?after=x", 422), ("audit?before=x", 422)],
)  # fmt: skip
def test_what_is_not_there_is_told_in_a_page(owner, path, status):
    answer = owner.get(f"/admin/{path}")
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("text/html")


def test_a_token_is_shown_once_and_works_until_it_is_revoked(owner):
    shop = AdminPagesApp(owner, "Once", hosts="www.example.com, shop.example.com", strict="1")
    assert (
        shop.secret_token
        not in owner.get("/admin/apps").text + owner.get(f"/admin/apps/{shop.id}").text
    )
    page = page_text(owner.get("/admin/apps"))
    assert "Once strict" in page and "www.example.com, shop.example.com" in page
    assert shop.send().status == 202
    number = shop.secret_token.split("_")[1]
    assert owner.get(f"/admin/apps/{shop.id}/revoke?token={number}").status == 200
    assert owner.post(f"/admin/apps/{shop.id}/revoke", token=number).status == 303
    time.sleep(1)
    assert shop.send().status == 401
    assert "revoked" in page_text(owner.get(f"/admin/apps/{shop.id}"))
    assert owner.post("/admin/apps/1/revoke", token=number).status == 404


def test_an_app_is_changed_and_what_is_wrong_is_told_where_it_was_said(owner, app):
    there = f"/admin/apps/{app.id}"
    assert owner.post(there, hosts="a.example b.example", strict="1").status == 303
    page = owner.get(f"{there}?done=changed").text
    assert "a.example, b.example" in page and "checked" in page
    wrong = owner.post(there, hosts="not a host!")
    assert wrong.status == 422 and "Invalid host" in page_text(wrong)
    assert owner.post(there, hosts="").status == 303
    assert owner.post("/admin/apps", name="Shop").status == 422
    assert 'value="x y"' in owner.post("/admin/apps", name="", hosts="x y").text
    assert owner.post(f"{there}/tokens").status == 422
    page = owner.post(f"{there}/tokens", scopes="read")
    assert "read" in page_text(page) and 'id="token"' in page.text


def test_what_others_sent_is_text_in_every_page(owner, app):
    event = {"category": EVIL, "name": EVIL, "session_id": EVIL, "data": {EVIL: EVIL}}
    assert app.send(**event).status == 202
    assert app.send(**event, timestamp=EVIL).status == 422
    AdminPagesApp(owner, EVIL)
    owner.post("/admin/schemas/edit", app="0", category=EVIL, name=EVIL, schema="{}", action="save")
    found = owner.get(f"/admin/events?{urlencode({'name': EVIL})}")
    number = re.search(r"/admin/events/(\d+)", found.text)[1]
    edit = urlencode({"category": EVIL, "name": EVIL})
    for path in (
        "events", f"events?{urlencode({'name': EVIL})}",
        f"events/{number}", f"events/{number}/delete",
        f"sessions?{urlencode({'id': EVIL})}", f"sessions/erase?{urlencode({'id': EVIL})}",
        "rejected-events", "schemas", f"schemas/edit?{edit}", "apps", "audit",
        f"audit?{urlencode({'who': EVIL})}", f"users/remove?{urlencode({'name': EVIL})}",
    ):  # fmt: skip
        text = owner.get(f"/admin/{path}").text
        assert "<script>alert" not in text and "alert(1)" in text, path
    owner.post(
        "/admin/schemas/edit", app="0", category=EVIL, name=EVIL, schema="{}", action="remove"
    )


def test_an_event_is_found_followed_and_forgotten(owner, app):
    for at in ("09:15:27.2", "09:15:30", "10:15:30"):
        app.send(session_id=SESSION, timestamp=f"2021-01-01T{at}")
    app.send(session_id="another", timestamp="2021-01-02T00:00:00")
    app.send(session_id=SESSION, timestamp="no time")
    both = page_text(owner.get("/admin/events?from=2021-01-01T09:15&to=2021-01-03"))
    assert "2021-01-01 10:15:30" in both and "2021-01-02" in both
    assert both.index("2021-01-02") < both.index("2021-01-01")
    one = page_text(
        owner.get("/admin/events?from=2021-01-01T09:16&to=2021-01-01T10:15:31&order=asc")
    )
    assert "10:15:30" in one and "09:15:30" not in one and "2021-01-02" not in one
    timeline = owner.get(f"/admin/sessions?id={SESSION}")
    said = page_text(timeline)
    assert said.index("09:15:27.2") < said.index("3 s later") < said.index("60 minutes later")
    first = re.search(r"/admin/events/(\d+)", timeline.text)[1]
    assert SESSION in page_text(owner.get(f"/admin/events/{first}"))
    assert owner.get(f"/admin/events/{first}/delete").status == 200
    assert owner.post(f"/admin/events/{first}/delete").status == 303
    assert owner.get(f"/admin/events/{first}").status == 404
    assert owner.post("/admin/sessions/erase").status == 422
    assert owner.get(f"/admin/sessions/erase?id={SESSION}").status == 200
    answer = owner.post("/admin/sessions/erase", id=SESSION)
    assert "is erased" in page_text(owner.get(answer.headers["Location"]))
    assert "No events of this session" in page_text(owner.get(f"/admin/sessions?id={SESSION}"))
    assert SESSION not in owner.get("/admin/rejected-events").text
    changes = owner.get("/admin/audit").text
    assert "erased a session" in changes and "2 events, 1 rejected event" in changes
    assert SESSION not in changes


def test_many_events_are_paged_by_an_address(owner, app):
    for number in range(55):
        app.send(category="paged", data={"host": "x", "path": f"/{number}"})
    first = owner.get("/admin/events?category=paged")
    further = re.search(r'href="([^"]+)" rel="next"', first.text)[1].replace("&amp;", "&")
    second = owner.get(further)
    seen = re.findall(r"/admin/events/(\d+)", first.text + second.text)
    assert len(seen) == len(set(seen)) == 55
    assert 'rel="next"' not in second.text


def test_a_rule_is_tried_set_broken_mended_and_its_rejects_replayed(owner, app):
    kind = {"app": "0", "category": "shop", "name": "sale"}
    for price in (1, 2, "three"):
        assert app.send(category="shop", name="sale", data={"price": price}).status == 202
    schema = '{"type": "object", "properties": {"price": {"type": "number"}}}'
    tried = owner.post("/admin/schemas/edit", **kind, schema=schema, action="dry-run")
    assert "This schema rejects 1 of the newest 3 events of this type" in page_text(tried)
    assert "/data/price" in tried.text
    assert "sale" not in page_text(owner.get("/admin/schemas"))
    assert owner.post("/admin/schemas/edit", **kind, schema=schema, action="save").status == 303
    assert "shop / sale all apps" in page_text(owner.get("/admin/schemas"))
    assert app.send(category="shop", name="sale", data={"price": "four"}).status == 422
    assert app.send(category="shop", name="sale", data={"price": "five"}).status == 422
    listed = owner.get(f"/admin/rejected-events?app={app.id}")
    assert "/data/price" in listed.text and "five" in listed.text
    number = re.search(r"/admin/rejected-events/(\d+)", listed.text)[1]
    assert "five" in owner.get(f"/admin/rejected-events/{number}").text
    still = owner.post(f"/admin/rejected-events/{number}")
    assert still.status == 422 and "still invalid" in page_text(still)
    edit = f"/admin/schemas/edit?{urlencode({'category': 'shop', 'name': 'sale'})}"
    assert '"number"' in owner.get(edit).text.replace("&quot;", '"')
    assert owner.post("/admin/schemas/edit", **kind, schema="{}", action="save").status == 303
    assert owner.post(f"/admin/rejected-events/{number}").status == 303
    assert owner.post(f"/admin/rejected-events/{number}").status == 404
    replayed = owner.post("/admin/rejected-events/replay", app=app.id)
    assert "1 event stored" in page_text(replayed)
    found = owner.get("/admin/events?category=shop&name=sale").text
    assert "four" in found and "five" in found
    assert owner.post("/admin/schemas/edit", **kind, schema="{}", action="remove").status == 303
    assert "shop / sale" not in page_text(owner.get("/admin/schemas"))


@pytest.mark.parametrize(
    ("schema", "said"),
    [("{", "JSON"), ('{"type": 3}', "/type"), ('{"$ref": "https://x.example/"}', "/$ref"),
     ('{"a": NaN}', "NaN"), ("", "JSON")],
)  # fmt: skip
@pytest.mark.parametrize("action", ["dry-run", "save"])
def test_what_is_no_rule_is_told_and_stays_in_the_form(owner, schema, said, action):
    answer = owner.post(
        "/admin/schemas/edit", app="0", category="c", name="n", schema=schema, action=action
    )
    assert answer.status == 422
    assert said in page_text(answer)
    assert 'maxlength="100"' in answer.text and schema[:20].replace('"', "&quot;") in answer.text


def test_a_rule_for_an_app_that_is_none_is_refused(owner):
    answer = owner.post(
        "/admin/schemas/edit", app="999", category="c", name="n", schema="{}", action="save"
    )
    assert answer.status == 422 and "no app 999" in page_text(answer)


def test_an_uploaded_folder_is_in_force_and_its_rejects_are_told(owner, sample_server):
    assert sample_server.request("/campaigns/701/").status == 404
    said = wait_for_upload(
        owner, upload_files(owner, *campaign_files(701, bad_rows=2), ("mine/notes.txt", b"x"))
    )
    assert "8 rejected" in said and "Published: 62 rows stored" in said
    assert "clicks_1.csv, line 7" in said and "x,y,z" in said
    assert "mine/notes.txt" in said
    assert sample_server.request("/campaigns/701/").status == 200
    page = page_text(owner.get("/admin/campaigns/701?slot=2"))
    assert re.search(r"Banner 3 most revenue 9.00.*Banner 2 most revenue 5.00.*Banner 1 ", page)
    assert "Campaign 701" in page_text(owner.get("/admin/campaigns?number=701"))
    imports = owner.get("/admin/imports")
    assert "upload by owner" in imports.text and str(sample_server.data) not in imports.text
    newest = re.search(r"/admin/imports/(\d+)", imports.text)[1]
    assert "8 rejected rows of this import are stored" in page_text(
        owner.get(f"/admin/imports/{newest}")
    )
    assert "imported campaigns" in owner.get("/admin/audit").text
    wait_for(lambda: not lying(sample_server))
    again = wait_for_upload(owner, upload_files(owner, *campaign_files(701, bad_rows=2)))
    assert "Nothing has changed" in again


def test_a_zip_of_a_folder_does_as_well(owner, sample_server):
    said = wait_for_upload(owner, upload_files(owner, ("mine.zip", zipped(campaign_files(702)))))
    assert "Published" in said
    assert sample_server.request("/campaigns/702/").status == 200


@pytest.mark.parametrize(
    ("files", "status", "said"),
    [
        ([], 422, "No file was chosen"),
        ([("", b"")], 422, "No file was chosen"),
        ([("a.csv", b"x")], 303, "holds nothing to import"),
        ([("clicks_1.csv", b"no header\n1,2,3\n")], 303, "lacks its header"),
        ([("clicks_1.csv", b"\xff\xfe\0")], 303, "is UTF-16 or UTF-32 text"),
        ([("x/clicks_1.csv", b"x"), ("y/clicks_1.csv", b"y")], 422, "twice"),
        ([("a.zip", b"no zip")], 303, "zip file cannot be read"),
    ],
)
def test_what_cannot_be_imported_is_told_and_changes_nothing(
    owner, sample_server, files, status, said
):
    before = owner.get("/admin/imports").text
    answer = upload_files(owner, *files)
    assert answer.status == status
    assert said in (page_text(answer) if status == 422 else wait_for_upload(owner, answer))
    assert owner.get("/admin/imports").text == before
    wait_for(lambda: not lying(sample_server))


def test_no_upload_without_logging_in(sample_server):
    assert upload_files(AdminBrowser(sample_server), *campaign_files(703)).status == 401
    assert sample_server.request("/campaigns/703/").status == 404


def test_a_browser_that_leaves_amid_its_upload_leaves_nothing(owner, sample_server):
    content, kind = encode_multipart(*campaign_files(704))
    with socket.create_connection(("127.0.0.1", sample_server.port)) as connection:
        head = (
            "POST /admin/campaigns/upload HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\n"
            f"Cookie: {owner.cookie}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        connection.sendall(head.encode() + content[:-500])
        wait_for(lambda: lying(sample_server))
    wait_for(lambda: not lying(sample_server))
    assert sample_server.request("/campaigns/704/").status == 404
    # Nor does it count any more among those that come in at once.
    for _ in range(4):
        assert upload_files(owner).status == 422


def test_browsers_that_leave_before_their_upload_is_let_in_leave_nothing(owner, sample_server):
    head = (
        "POST /admin/campaigns/upload HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\n"
        f"Cookie: {owner.cookie}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        "Content-Length: 1000\r\n\r\n"
    )
    for number in range(24):
        with socket.create_connection(("127.0.0.1", sample_server.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(head.encode())
            time.sleep(number % 6 / 1_000)
    wait_for(lambda: not lying(sample_server))
    assert wait_for_upload(owner, upload_files(owner, *campaign_files(707)))
    assert sample_server.request("/campaigns/707/").status == 200


def test_an_upload_larger_than_may_be_is_refused(start_server):
    server = start_server("--sample", "--max-upload", "2000")
    time.sleep(0.3)
    owner = AdminBrowser(server).log_in(*owner_credentials(server))
    answer = upload_files(owner, ("clicks_1.csv", b"x" * 5_000))
    assert answer.status == 422 and "larger than 2,000 bytes" in page_text(answer)
    bomb = zipped([("1/clicks_1.csv", b"x" * 100_000)])
    assert "larger" in wait_for_upload(owner, upload_files(owner, ("a.zip", bomb)))
    wait_for(lambda: not lying(server))


def test_what_a_kill_left_of_an_upload_goes_at_the_next_start(start_server):
    server = start_server()
    server.stop()
    left = server.data / "uploads" / "0123" / "1"
    left.mkdir(parents=True)
    (left / "clicks_1.csv").write_text("x")
    start_server()
    assert not left.exists()


def test_pages_go_on_while_a_large_upload_is_imported_and_a_stop_cuts_it_off(start_server):
    server = start_server("--sample", "--drain-seconds", "600")
    time.sleep(0.3)
    owner = AdminBrowser(server).log_in(*owner_credentials(server))
    rows = "".join(f"{n % 4000},{n % 90}\n" for n in range(400_000))
    content = f"banner_id,campaign_id\n{rows}".encode()
    answer = upload_files(owner, ("impressions_1.csv", content))
    assert server.request("/campaigns/1/").status == 200
    assert lying(server), "the page waited for the import"
    for _ in range(20):
        assert server.request("/campaigns/1/").status == 200
    assert answer.status == 303
    assert server.stop() == 0
    assert "Traceback" not in server.log, server.log
    assert not lying(server)


def lying(server) -> list[str]:
    """What lies in the folder of uploads."""
    folder = server.data / "uploads"
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def wait_for(holds: Callable[[], bool]) -> None:
    for _ in range(6_000):
        if holds():
            return
        time.sleep(0.02)
    raise AssertionError("it does not come to hold")


def test_the_same_holds_on_tornados_own_server(start_server):
    server = start_server("--sample", "--server", "tornado", "--drain-seconds", "600")
    time.sleep(0.3)
    owner = AdminBrowser(server).log_in(*owner_credentials(server))
    assert "Published" in wait_for_upload(
        owner, upload_files(owner, ("mine.zip", zipped(campaign_files(705))))
    )
    assert server.request("/campaigns/705/").status == 200
    with contextlib.closing(server.connect()) as connection:
        connection.request("GET", "/admin/live", headers={"Cookie": owner.cookie})
        stream = connection.getresponse()
        told = iter(lambda: stream.readline().decode(), "")
        assert "<svg" in next(line for line in told if line.startswith("data: "))
        assert server.stop() == 0
    assert "Traceback" not in server.log, server.log


def test_a_story_is_made_shown_changed_and_removed(owner, sample_server):
    page = page_text(owner.get("/admin/stories"))
    assert "image1.png" in page and "image3.png" in page and "image4.png" not in page
    assert "image4.png" in page_text(owner.get("/admin/stories?app=2"))
    fields = {"app": "1", "id": "77", "metadata": '{"img": "new.png"}'}
    for wrong, said in (
        ({"metadata": "{"}, "/metadata"),
        ({"metadata": '{"img": 3}'}, "img"),
        ({"id": "x"}, "/id"),
        ({"from": "2026-02-01", "until": "2026-01-01"}, "/until"),
        ({"app": "999"}, "no app"),
        ({"id": "4"}, "app 2"),
    ):
        answer = owner.post("/admin/stories/edit", **{**fields, **wrong})
        assert answer.status == 422 and said in page_text(answer), wrong
    assert owner.post("/admin/stories/edit", **fields).status == 303

    def shown() -> list[str]:
        answer = sample_server.request("/api/v1/stories/cached/token_1")
        return [each["metadata"] for each in answer.json()["metadata"]]

    assert shown()[-1] == "new.png"  # at once
    form = owner.get("/admin/stories/edit?id=77")
    assert "new.png" in form.text
    owner.post("/admin/stories/edit", **{**fields, "order": "-1", "until": "2100-01-01"})
    assert shown()[0] == "new.png"
    assert "2100-01-01T00:00:00" in owner.get("/admin/stories/edit?id=77").text
    said = {"story_id": 77, "event_type": "impression", "user_id": "somebody"}
    assert (
        sample_server.request("/api/v1/event/token_1", "POST", json.dumps(said).encode()).status
        == 202
    )
    page = page_text(owner.get("/admin/stories"))
    assert "1 impression" in page and "1 today" in page
    assert owner.get("/admin/stories/77/remove").status == 200
    assert owner.post("/admin/stories/77/remove").status == 303
    assert owner.post("/admin/stories/77/remove").status == 404
    assert "new.png" not in shown()
    changes = page_text(owner.get("/admin/audit"))
    assert all(text in changes for text in ("created story", "changed a story", "removed a story"))


def test_the_audience_and_what_rises_is_told(owner, sample_server):
    page = owner.get("/admin/audience")
    assert "played.example" in page.text
    address = re.search(r'href="(/live/played[^"]+)"', page.text)[1].replace("&amp;", "&")
    assert sample_server.request(address).status == 200
    AdminPagesApp(owner, "Watched by nobody", hosts="unwatched.example")
    assert "unwatched.example" in page_text(owner.get("/admin/audience"))
    front = page_text(owner.get("/admin/"))
    assert "Rising pages" in front and "Active visitors" in front
    assert "Story users today" in front
