"""The list of changes: who did what, where, from which value to which."""

import pytest

from store.sqlite.core.audit_log import (
    MAX_SUBJECT_CHARS,
    MAX_VALUE_CHARS,
    format_changes,
    format_value,
)
from tests.support.web.admin_session import AdminBrowser, owner_credentials, page_text
from tests.support.web.admin_uploads import (
    AdminPagesApp,
    campaign_files,
    upload_files,
    wait_for_upload,
)


@pytest.fixture
def owner(start_server) -> AdminBrowser:
    server = start_server("--sample", "--no-traffic")
    return AdminBrowser(server).log_in(*owner_credentials(server))


def listed(owner: AdminBrowser) -> str:
    return page_text(owner.get("/admin/audit"))


def test_an_import_at_the_terminal_is_a_change(owner, run_command, tmp_path):
    for name, content in campaign_files(721, bad_rows=2):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    run_command("import", str(tmp_path / "mine"), "--data", str(owner.server.data))
    page = listed(owner)
    assert "the terminal imported campaigns import 2 from" in page
    assert f"from {tmp_path / 'mine'}; 12 files; rows: 62 stored, 0 duplicate, 8 rejected" in page
    # One that has nothing new changes nothing.
    run_command("import", str(tmp_path / "mine"), "--data", str(owner.server.data))
    assert listed(owner).count("imported campaigns") == page.count("imported campaigns")


def test_an_upload_is_a_change_of_its_user(owner):
    wait_for_upload(owner, upload_files(owner, *campaign_files(722)))
    page = listed(owner)
    assert "owner imported campaigns import 2 from upload by owner; 12 files; rows: 62" in page


def test_changes_tell_what_was_and_what_is(owner, run_command):
    data = str(owner.server.data)
    owner.post("/admin/apps", name="Shop", hosts="A.Example.", public_token="shop-1")
    assert "created an app 5 (Shop); hosts: a.example; strict: no; public token: shop-1" in listed(
        owner
    )
    owner.post("/admin/apps/5", hosts="a.example b.example:8080", strict="1")
    assert (
        "changed an app 5 (Shop); hosts: a.example → a.example, b.example:8080; strict: no → yes"
        in listed(owner)
    )
    run_command("app", "change", "Shop", "--name", "Store", "--data", data)
    assert "the terminal changed an app 5 (Store); name: Shop → Store" in listed(owner)
    story = {"app": "5", "id": "99", "metadata": '{"img": "a.png"}', "order": "1"}
    assert owner.post("/admin/stories/edit", **story).status == 303
    assert "created story 99; app: 5; order: 1; shown from: none" in listed(owner)
    story |= {"order": "7", "until": "2027-01-01"}
    assert owner.post("/admin/stories/edit", **story).status == 303
    changed = "changed a story 99; order: 1 → 7; shown until: none → 2027-01-01 00:00:00"
    assert changed in listed(owner)
    assert owner.post("/admin/stories/99/remove").status == 303
    assert "removed a story 99; app: 5; order: 7" in listed(owner)
    rule = {"category": "shop", "name": "sale", "app": "5", "action": "save"}
    owner.post("/admin/schemas/edit", **rule, schema='{"type": "object"}')
    owner.post("/admin/schemas/edit", **rule, schema='{"type": "array"}')
    assert 'shop / sale of app 5; schema: none → {"type":"object"}' in listed(owner)
    assert 'schema: {"type":"object"} → {"type":"array"}' in listed(owner)
    owner.post("/admin/schemas/edit", **(rule | {"action": "remove"}), schema="{}")
    assert 'removed an event schema shop / sale of app 5; schema: {"type":"array"}' in listed(owner)
    owner.post("/admin/users", name="nina")
    assert "created a user nina; password: generated" in listed(owner)
    owner.post("/admin/users/remove", name="nina")
    assert "removed a user nina; 0 sessions ended" in listed(owner)
    run_command("app", "remove", "Store", "--yes", "--data", data)
    if "removed an app" not in listed(owner):  # of the first versions, which ask for no --yes
        run_command("app", "remove", "Store", "--data", data)
    page = listed(owner)
    assert "removed an app 5 (Store); with it 0 stories, 0 event schemas, 1 token" in page


def test_a_replay_at_the_terminal_is_a_change(owner, run_command):
    app = AdminPagesApp(owner, "Replayed", strict="1")
    app.send(category="shop", name="sale")
    app.send(category="shop", name="other")
    owner.post(f"/admin/apps/{app.id}", hosts="")  # takes types without a rule from now on
    done = run_command("events", "replay", "--all", "--data", str(owner.server.data))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the terminal replayed rejected events 2 events stored; 0 still invalid" in listed(owner)


def test_long_values_are_cut_where_it_can_be_seen():
    assert format_value("x" * 500) == "x" * (MAX_VALUE_CHARS - 1) + "…"
    assert format_value(None) == format_value("") == format_value([]) == "none"
    assert format_changes({"a": 1, "b": [1]}, {"a": 1, "b": [1]}) == "nothing"
    assert format_changes({"a": False}, {"a": True, "b": "x"}) == "a: no → yes; b: none → x"
    assert MAX_SUBJECT_CHARS > 4 * MAX_VALUE_CHARS
