"""The API's documentation: it tells of every path, and what it tells is so."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from selenium.webdriver.common.by import By

from docs import collection
from domain.common.version import VERSION
from handlers.openapi.operation import PATH_PARAMETERS
from tests.support import ROOT
from tests.support.events.events_api import App
from tests.support.events.hostile_bodies import body
from tests.support.web.admin_session import Visitor, owner_of
from tests.support.web.browser import contrast, luminance, requested
from tests.support.web.route_table import OWNER, ROWS

REQUESTS = Path(__file__).parent / "generated_requests"
HOOKED = {
    **os.environ,
    "SCHEMATHESIS_HOOKS": str(REQUESTS / "hooks.py"),
    "PYTHONPATH": str(ROOT),
}
BUILD = ROOT / "build" / "newman"
PROGRAM = Path(sys.executable).with_name("st")
ADDRESS = "/api/v1/openapi.json"


@pytest.fixture(scope="module")
def told(sampled):
    return sampled.ask(ADDRESS).json()


def operations(told):
    return [
        (method.upper(), path, operation)
        for path, methods in told["paths"].items()
        for method, operation in methods.items()
    ]


def path_with_examples(path: str) -> str:
    return re.sub(r"{(\w+)}", lambda it: quote(str(PATH_PARAMETERS[it[1]].example), safe=""), path)


def alternatives(pattern: str) -> list[str]:
    """A route's pattern, once with and once without what may be left out at its front."""
    prefix = "(?:/api/v1)?"
    if not pattern.startswith(prefix):
        return [pattern]
    return ["/api/v1" + pattern.removeprefix(prefix), pattern.removeprefix(prefix)]


def test_every_path_that_is_answered_is_told_of_and_every_one_told_of_is_answered(told):
    told_of = {(method, path) for method, path, _ in operations(told)}
    routes = {(row.method, each) for row in ROWS for each in alternatives(row.pattern)}
    answered = {
        (method, path)
        for method, path in told_of
        if any(
            method == each and re.fullmatch(pattern, path_with_examples(path))
            for each, pattern in routes
        )
    }
    assert answered == told_of
    untold = {
        (method, pattern)
        for method, pattern in routes
        if not any(
            method == each and re.fullmatch(pattern, path_with_examples(path))
            for each, path in told_of
        )
    }
    assert not untold


def test_the_document_is_openapi_3_1(told):
    assert told["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(told).validate()
    names = [operation["operationId"] for _, _, operation in operations(told)]
    assert len(names) == len(set(names))


def test_the_documents_version_is_the_programs(told):
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == "attr: release.VERSION"
    assert told["info"]["version"] == VERSION


def test_every_operation_says_what_it_is_secured_by(told):
    """An operation without `security` would have that of the whole document, which is unsaid."""
    for method, path, operation in operations(told):
        assert "security" in operation, (method, path)
        for each in operation["security"]:
            assert each.keys() <= told["components"]["securitySchemes"].keys()
    secured = {path: operation["security"] for _, path, operation in operations(told)}
    assert secured["/healthz"] == []
    assert secured["/api/v1/conversions"] == [{"token": []}]
    assert secured["/admin/apps"] == [{"owner": []}]


def test_no_path_but_the_root_ends_with_a_slash(told):
    assert [path for path in told["paths"] if path.endswith("/")] == ["/"]


def test_the_items_of_a_batch_are_events(told):
    for path in ("/events", "/api/v1/events"):
        content = told["paths"][path]["post"]["requestBody"]["content"]
        one, many = content["application/json"]["schema"]["anyOf"]
        assert one == {"$ref": "#/components/schemas/Event"}
        assert many == {"type": "array", "items": one}
        assert content["application/x-ndjson"]["schema"]["type"] == "string"


def untyped(schema, place: str):
    """The places of lists whose items have no type: generated clients have `list[Any]` there."""
    if isinstance(schema, dict):
        if schema.get("type") == "array" and not {"$ref", "type", "anyOf"} & schema["items"].keys():
            yield place
        for name, part in schema.items():
            yield from untyped(part, f"{place}/{name}")
    elif isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from untyped(part, f"{place}/{number}")


def test_every_list_says_of_what(told):
    assert list(untyped(told, "")) == []


def test_who_has_the_document_is_told_so(sampled):
    answer = sampled.ask(ADDRESS)
    again = sampled.ask(ADDRESS, If_None_Match=answer.headers["ETag"])
    assert (answer.status, again.status, again.body) == (200, 304, b"")


def test_bodies_are_told_by_the_types_that_check_them(told):
    schemas = told["components"]["schemas"]
    assert schemas["Event"]["additionalProperties"] is False
    assert schemas["Event"]["properties"]["category"]["maxLength"] == 100
    assert schemas["SentStoryEvent"]["properties"]["event_type"]["maxLength"] == 50
    assert schemas["Earned"]["required"] == ["click_id", "revenue"]
    assert schemas["Sign"]["properties"]["kind"]["enum"] == ["beat", "view"]


def test_every_example_is_as_its_schema_says(told):
    def fits(schema, example) -> bool:
        return jsonschema_rs.is_valid({**schema, "components": told["components"]}, example)

    seen = 0
    for _, path, operation in operations(told):
        for each in operation.get("parameters", ()):
            if "example" in each:
                assert fits(each["schema"], each["example"]), (path, each)
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for kind in (kind for each in bodies for kind in each.get("content", {}).values()):
            if "example" in kind:
                assert fits(kind["schema"], kind["example"]), (path, kind)
                seen += 1
    assert seen > 20


class Forms(HTMLParser):
    """The forms of a page: method, address, names of the fields."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, set[str]]] = []
        self._within = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        if tag == "form":
            self._within = True
            self.found.append((said["method"].upper(), said["action"], set()))
        elif self._within and said.get("name"):
            self.found[-1][2].add(said["name"])

    def handle_endtag(self, tag):
        self._within = self._within and tag != "form"


def test_the_owners_forms_are_told_with_all_their_fields(sampled, told):
    owner = Visitor(sampled).log_in(*owner_of(sampled))
    app = App(sampled)
    app.send(b"{}")
    reject = app.ask("/rejected-events", token=app.token("read")).json()["rejected_events"][0]["id"]
    event = app.send(body()).json()["id"]
    pages = {row.path for row in ROWS if row.method == "GET" and row.who == OWNER}
    pages -= {"/admin/live"}
    pages |= {f"/admin/events/{event}/delete", f"/admin/rejected-events/{reject}"}
    pages |= {"/admin/stories/1/remove", "/admin/apps/1/revoke?token=1"}
    pages |= {"/admin/users/remove?name=x", "/admin/schemas/edit?category=a&name=b"}
    visitor = Visitor(sampled).get("/admin/login").text
    found = Forms(visitor).found
    for path in pages:
        found += Forms(owner.get(path).text).found
    seen: dict[tuple[str, str], set[str]] = {}
    for method, action, names in found:
        (path,) = (
            path
            for path in told["paths"]
            if path.startswith("/admin")
            and re.fullmatch(re.sub(r"{\w+}", r"\\d+", path), action)
            and method.lower() in told["paths"][path]
        )
        seen.setdefault((method, path), set()).update(names)
    for (method, path), names in seen.items():
        operation = told["paths"][path][method.lower()]
        arguments = {each["name"] for each in operation.get("parameters", ())}
        if method == "GET":
            assert names <= arguments, path
            continue
        content = operation.get("requestBody", {}).get("content", {})
        fields = {name for kind in content.values() for name in kind["schema"]["properties"]}
        assert names == fields, path
    forms = {(method, path) for method, path, _ in operations(told) if path.startswith("/admin")}
    # By the link's token alone, and there is a user already (test_login.py).
    unseen = {each for each in forms if each[0] == "POST"} - seen.keys()
    assert unseen == {("POST", "/admin/setup")}


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_every_command_of_the_page_is_answered_as_it_stands_there(sampled):
    """Those of one app, with a token that may all; the owner's need a browser."""
    page = sampled.ask("/api/v1/docs/").text
    token = App(sampled).token("write", "read", "admin")
    commands = map(html.unescape, re.findall("<pre><code>(.*?)</code></pre>", page, re.DOTALL))
    asked = [each for each in commands if "/admin" not in each and "/stream" not in each]
    assert len(asked) > 40
    for command in asked:
        done = subprocess.run(
            ["bash", "-c", f"{command} -s -o /dev/null -w '%{{http_code}}'"],
            env={"TOKEN": token, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        # Nothing has the ids of the examples, and which app a command is for is the reader's.
        fits = ("200", "201", "202", "204", "302", "404")
        fits += ("422",) if "/conversions" in command else ()
        assert done.stdout in fits, command


def test_the_page_loads_nothing_else_and_reads_well_on_a_phone(sampled, browser):
    address = f"http://127.0.0.1:{sampled.port}"
    browser.set_window_size(390, 900)
    requested(browser)
    browser.get(f"{address}/api/v1/docs/")
    assert browser.find_element(By.TAG_NAME, "h1").text == "Marquee's API"
    assert [each for each in requested(browser) if not each.startswith(address)] == []
    assert browser.get_log("browser") == []
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(wide) <= 0
    for link in browser.find_elements(By.CSS_SELECTOR, "a[href^='#']"):
        name = link.get_attribute("href").partition("#")[2]
        assert browser.execute_script("return !!document.getElementById(arguments[0])", name), name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_legible_in_light_and_dark(sampled, browser, scheme):
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    browser.get(f"http://127.0.0.1:{sampled.port}/api/v1/docs/")
    grounds = {
        name: browser.find_element(By.CSS_SELECTOR, name).value_of_css_property("background-color")
        for name in ("body", ".docs article", ".docs pre")
    }
    assert (luminance(grounds["body"]) < 0.2) == (scheme == "dark")
    for place, ground in (
        (".docs > p", "body"),
        (".docs nav span", "body"),
        (".docs nav a", "body"),
        (".docs article h3", ".docs article"),
        (".docs article h4", ".docs article"),
        (".docs article small", ".docs article"),
        (".docs article .method", ".docs article"),
        (".docs pre code", ".docs pre"),
    ):
        ink = browser.find_element(By.CSS_SELECTOR, place).value_of_css_property("color")
        assert contrast(ink, grounds[ground]) >= 4.5, place


def test_the_page_says_the_same_with_scripts_off_and_styles_nothing_inline(sampled):
    answer = sampled.ask("/api/v1/docs/")
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert not re.search(r"<script|<style| style=| on\w+=", answer.text)


def test_the_page_is_small_on_its_way(sampled):
    packed = sampled.ask("/api/v1/docs/", Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.body) < 30_000


def asked_all_over(server, *words: str, **headers: str) -> str:
    """What schemathesis says of the server, by the document that it gives.

    It leaves files where it runs: beside the server's data, not here.
    """
    named = [f"--header={name.replace('_', '-')}: {value}" for name, value in headers.items()]
    address = f"http://127.0.0.1:{server.port}{ADDRESS}"
    config = REQUESTS / "schemathesis.toml"
    command = [PROGRAM, f"--config-file={config}", "run", address, "--no-color"]
    done = subprocess.run(
        [*command, "--continue-on-failure", *named, *words],
        cwd=server.data.parent,
        env=HOOKED,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-30_000:] + done.stderr[-2000:]
    assert "Traceback" not in server.log, server.log
    return done.stdout


OWNERS = "--include-path-regex=^/admin"
OTHERS = "--exclude-path-regex=^/admin"
# Whoever is logged out by one of these gets nothing of the others.
DOORS = "^/admin/(login|logout|setup)$"


@pytest.mark.parametrize(
    "examples", [5, pytest.param(100, marks=pytest.mark.long)], ids=["some", "many"]
)
def test_whatever_is_asked_is_answered_as_the_document_says(start, examples):
    server = start("--sample")
    said = asked_all_over(
        server,
        OTHERS,
        f"--max-examples={examples}",
        Authorization=f"Bearer {App(server).token('write', 'read', 'admin')}",
    )
    assert re.search(r"Tested: [4-9]\d", said), said


@pytest.mark.parametrize(
    "examples", [1, pytest.param(50, marks=pytest.mark.long)], ids=["some", "many"]
)
def test_whatever_an_owner_asks_is_answered_as_the_document_says(start, examples):
    server = start("--sample")
    owner = Visitor(server).log_in(*owner_of(server))
    asked_all_over(
        server,
        OWNERS,
        f"--exclude-path-regex={DOORS}",
        f"--max-examples={examples}",
        Cookie=owner.cookie,
        Sec_Fetch_Site="same-origin",
    )


def test_whatever_a_visitor_asks_at_the_owners_door_is_answered_as_the_document_says(start):
    server = start("--sample")
    doors = f"--include-path-regex={DOORS}"
    asked_all_over(server, doors, "--max-examples=5", Sec_Fetch_Site="same-origin")


def test_the_collection_is_made_from_this_document():
    assert json.loads(collection.PATH.read_text()) == collection.collection()


@pytest.mark.long
def test_every_request_of_the_collection_is_answered(start):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("newman comes by npm, which is not installed")
    server = start("--sample")
    token = App(server).token("write", "read", "admin")
    BUILD.mkdir(parents=True, exist_ok=True)
    install = [npm, "install", "--no-fund", "--no-audit", "--prefix", BUILD, "newman@6.2.2"]
    subprocess.run(install, check=True, capture_output=True)
    values = {"base": f"http://127.0.0.1:{server.port}", "token": token}
    given = [f"--env-var={name}={value}" for name, value in values.items()]
    newman = BUILD / "node_modules" / ".bin" / "newman"
    command = [newman, "run", collection.PATH, "--color=off", *given]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]


def of_another_type(answers) -> None:
    answers["200"]["content"] = {"application/json": {"schema": {"type": "object"}}}


def without_a_status(answers) -> None:
    """`default` alone is no name for it."""
    del answers["404"]


@pytest.mark.parametrize(
    ("path", "change", "words"),
    [
        ("/healthz", of_another_type, "Content-Type"),
        ("/banners/{banner}", without_a_status, "Undocumented status code"),
    ],
)
def test_a_document_that_tells_otherwise_is_found_out(start, tmp_path, told, path, change, words):
    """The same, by a document in which an answer is another: it has to fail."""
    told = json.loads(json.dumps(told))
    told["paths"] = {path: told["paths"][path]}
    change(told["paths"][path]["get"]["responses"])
    (tmp_path / "openapi.json").write_text(json.dumps(told))
    server = start("--sample")
    url = f"--url=http://127.0.0.1:{server.port}"
    command = [PROGRAM, "run", tmp_path / "openapi.json", url, "--no-color", "--max-examples=1"]
    done = subprocess.run(command, cwd=tmp_path, env=HOOKED, capture_output=True, text=True)
    assert done.returncode == 1 and words in done.stdout
