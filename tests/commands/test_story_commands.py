"""`stories` and `app` on the command line, beside a server and without one."""

import json
import time

import pytest

CSV = """\
id,app,metadata,order,from,until
11,App,"{""img"":""eleven.png"",""title"":""Eleven""}",2,,
12,App,"{""img"":""twelve.png""}",1,2020-01-01,
13,other,"{""img"":""thirteen.png""}",,,2020-01-01
14,nobody,"{""img"":""x""}",,,
x,App,"{""img"":""x""}",,,
"""


@pytest.fixture(params=["beside", "alone"])
def owner(request, start_server, run_command, tmp_path):
    """Runs commands on a folder with two apps, and tells of a server if there is one."""

    class Owner:
        server = start_server() if request.param == "beside" else None

        def __call__(self, *words, status=0):
            done = run_command(*words, "--data", str(tmp_path / "data"))
            assert done.returncode == status, done.stderr
            return done

        def told(self, *words, **more):
            return json.loads(self(*words, "--json", **more).stdout)

        def shown(self, token):
            """What the app shows, by a server that is beside or comes after."""
            server = self.server or start_server()
            try:
                answers = [
                    server.request(f"/api/v1/stories/{way}{token}") for way in ("", "cached/")
                ]
            finally:
                if self.server is None:
                    assert server.stop() == 0
            if answers[0].status == 404:
                assert answers[1].status == 404
                return None
            first, second = (each.json()["metadata"] for each in answers)
            assert first == second
            return [(each["id"], each["metadata"]) for each in first]

    owner = Owner()
    owner("app", "create", "App", "--public-token", "app_t", "--hosts", "a.example")
    owner("app", "create", "Other", "--public-token", "other")
    return owner


def test_stories_of_several_apps_are_taken_listed_and_removed(owner, tmp_path):
    file = tmp_path / "stories.csv"
    file.write_text(CSV)
    first = owner.told("stories", "import", str(file), status=1)
    counts = [first[name] for name in ("read", "stored", "changed", "duplicate", "rejected")]
    assert counts == [5, 3, 0, 0, 2]
    assert [(each["place"], each["reason"]) for each in first["rejected_stories"]] == [
        ("line 5", "there is no app 'nobody': give its id, name or public token"),
        ("line 6", "id is not a whole number from 0 to 9223372036854775807"),
    ]
    assert first["rejected_stories"][1]["text"].startswith("x,App,")
    assert owner.shown("app_t") == [(12, "twelve.png"), (11, "eleven.png")]
    assert owner.shown("other") == []  # it is over
    again = owner("stories", "import", str(file), status=1).stdout
    assert "line 5: there is no app 'nobody'" in again
    assert again.split()[-6:-1] == ["5", "0", "0", "3", "2"]

    listed = owner.told("stories", "list")["stories"]
    assert [(each["id"], each["app"], each["order"]) for each in listed] == [
        (12, 1, 1),
        (11, 1, 2),
        (13, 2, 1),
    ]
    assert listed[1]["metadata"] == {"img": "eleven.png", "title": "Eleven"}
    assert listed[0]["from"] == "2020-01-01T00:00:00.000000Z"
    assert listed[0]["until"] is None
    assert "order 1  from 2020-01-01T00:00:00.000000Z  " in owner("stories", "list", "app_t").stdout
    # What is listed can be taken in again, also changed.
    listed[0]["metadata"]["img"] = "new.png"
    other = tmp_path / "stories.json"
    other.write_text(json.dumps({"stories": listed}))
    back = owner.told("stories", "import", str(other))
    assert (back["changed"], back["duplicate"]) == (1, 2)
    assert owner.shown("app_t") == [(12, "new.png"), (11, "eleven.png")]

    assert owner.told("stories", "remove", "12", "13", "--yes") == {"removed": [12, 13]}
    assert owner.shown("app_t") == [(11, "eleven.png")]
    assert "no story 12" in owner("stories", "remove", "11", "12", "--yes", status=1).stderr
    assert owner.shown("app_t") == [(11, "eleven.png")]


def test_a_file_of_something_else_is_refused_and_nothing_changed(owner, tmp_path):
    file = tmp_path / "file"
    for content in (b"\x89PNG\r\n\x1a\n", b"[{]"):
        file.write_bytes(content)
        refused = owner("stories", "import", str(file), status=1)
        assert f"{file}: invalid stories file: " in refused.stderr
    assert "No such file" in owner("stories", "import", str(tmp_path / "none"), status=1).stderr
    assert owner.told("stories", "list") == {"stories": []}
    assert "No stories." in owner("stories", "list").stdout


def test_many_stories_are_taken_at_once(owner, tmp_path):
    file = tmp_path / "stories.json"
    stories = [{"id": n, "app": "app_t", "img": f"{n}.png"} for n in range(7_000)]
    file.write_text(json.dumps(stories))
    assert owner.told("stories", "import", str(file))["stored"] == 7_000
    assert owner.shown("app_t") == [(n, f"{n}.png") for n in range(7_000)]


def test_an_app_is_changed_and_removed(owner, tmp_path):
    file = tmp_path / "stories.csv"
    file.write_text("id,app,img\n1,App,a.png\n")
    owner("stories", "import", str(file))
    changed = owner.told(
        "app", "change", "App", "--name", "New", "--public-token", "new_t", "--hosts", "b.example",
        "--strict",
    )  # fmt: skip
    assert (changed["name"], changed["public_token"], changed["hosts"], changed["strict"]) == (
        "New", "new_t", ["b.example"], True,
    )  # fmt: skip
    assert owner.shown("app_t") is None
    assert owner.shown("new_t") == [(1, "a.png")]
    told = owner("app", "change", "New", "--no-strict").stdout
    assert "New  public token: new_t  hosts b.example" in told
    assert not owner.told("app", "list")["apps"][0]["strict"]
    assert (
        "has the name 'Other'" in owner("app", "change", "New", "--name", "Other", status=1).stderr
    )
    assert owner.told("app", "remove", "new_t", "--yes") == {"id": 1, "name": "New", "stories": 1}
    assert owner.shown("new_t") is None
    assert [each["name"] for each in owner.told("app", "list")["apps"]] == ["Other"]
    assert "there is no app" in owner("app", "remove", "new_t", "--yes", status=1).stderr


def test_a_removed_apps_secret_token_is_refused_within_a_second(start_server, run_command):
    server = start_server()
    made = json.loads(
        run_command("app", "create", "x", "--data", str(server.data), "--json").stdout
    )
    token = f"Bearer {made['secret_token']}"
    assert server.request("/events", Authorization=token).status == 200
    assert run_command("app", "remove", "x", "--yes", "--data", str(server.data)).returncode == 0
    time.sleep(1)
    assert server.request("/events", Authorization=token).status == 401
