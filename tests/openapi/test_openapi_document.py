"""The OpenAPI document and the reference page match the routes and the responses."""

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
from tests.support.events.events_api import EventsApp
from tests.support.events.hostile_bodies import event_body
from tests.support.web.admin_session import AdminBrowser, owner_credentials
from tests.support.web.browser import contrast_ratio, luminance, requested_urls
from tests.support.web.route_table import OWNER, ROUTE_CASES

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
def document(sample_server):
    return sample_server.request(ADDRESS).json()


def operations(document):
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def path_with_examples(path: str) -> str:
    return re.sub(r"{(\w+)}", lambda it: quote(str(PATH_PARAMETERS[it[1]].example), safe=""), path)


def alternatives(pattern: str) -> list[str]:
    """Return the pattern of a route with and without the optional prefix `/api/v1`."""
    prefix = "(?:/api/v1)?"
    if not pattern.startswith(prefix):
        return [pattern]
    return ["/api/v1" + pattern.removeprefix(prefix), pattern.removeprefix(prefix)]


def test_routes_and_documented_paths_are_the_same(document):
    documented = {(method, path) for method, path, _ in operations(document)}
    routes = {(row.method, each) for row in ROUTE_CASES for each in alternatives(row.pattern)}
    answered = {
        (method, path)
        for method, path in documented
        if any(
            method == each and re.fullmatch(pattern, path_with_examples(path))
            for each, pattern in routes
        )
    }
    assert answered == documented
    undocumented = {
        (method, pattern)
        for method, pattern in routes
        if not any(
            method == each and re.fullmatch(pattern, path_with_examples(path))
            for each, path in documented
        )
    }
    assert not undocumented


def test_the_document_is_openapi_3_1(document):
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_the_document_has_the_version_of_the_program(document):
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == "attr: domain.common.version.VERSION"
    assert document["info"]["version"] == VERSION


def test_every_operation_has_security_requirements(document):
    """Without `security` an operation inherits that of the document, which has none."""
    for method, path, operation in operations(document):
        assert "security" in operation, (method, path)
        for each in operation["security"]:
            assert each.keys() <= document["components"]["securitySchemes"].keys()
    secured = {path: operation["security"] for _, path, operation in operations(document)}
    assert secured["/healthz"] == []
    assert secured["/api/v1/conversions"] == [{"token": []}]
    assert secured["/admin/apps"] == [{"owner": []}]


def test_no_path_but_the_root_ends_with_a_slash(document):
    assert [path for path in document["paths"] if path.endswith("/")] == ["/"]


def test_a_batch_is_an_array_of_events(document):
    for path in ("/events", "/api/v1/events"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        one, many = content["application/json"]["schema"]["anyOf"]
        assert one == {"$ref": "#/components/schemas/EventPayload"}
        assert many == {"type": "array", "items": one}
        assert content["application/x-ndjson"]["schema"]["type"] == "string"


def untyped(schema, place: str):
    """Yield the lists without an item type; generated clients would have `list[Any]`."""
    if isinstance(schema, dict):
        if schema.get("type") == "array" and not {"$ref", "type", "anyOf"} & schema["items"].keys():
            yield place
        for name, part in schema.items():
            yield from untyped(part, f"{place}/{name}")
    elif isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from untyped(part, f"{place}/{number}")


def test_every_list_has_an_item_type(document):
    assert list(untyped(document, "")) == []


@pytest.mark.gen_test(timeout=60)
async def test_a_current_etag_of_the_document_gets_304(http_client, base_url):
    answer = await http_client.fetch(base_url + ADDRESS)
    tag = {"If-None-Match": answer.headers["ETag"]}
    again = await http_client.fetch(base_url + ADDRESS, headers=tag, raise_error=False)
    assert (answer.code, again.code, again.body) == (200, 304, b"")


def test_body_schemas_come_from_the_validating_types(document):
    schemas = document["components"]["schemas"]
    assert schemas["EventPayload"]["additionalProperties"] is False
    assert schemas["EventPayload"]["properties"]["category"]["maxLength"] == 100
    assert schemas["StoryEventPayload"]["properties"]["event_type"]["maxLength"] == 50
    assert schemas["ConversionPayload"]["required"] == ["click_id", "revenue"]
    assert schemas["BeaconPayload"]["properties"]["kind"]["enum"] == ["beat", "view"]


def test_every_example_is_valid_for_its_schema(document):
    def fits(schema, example) -> bool:
        return jsonschema_rs.is_valid({**schema, "components": document["components"]}, example)

    seen = 0
    for _, path, operation in operations(document):
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
    """The forms of a page: method, action, field names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, set[str]]] = []
        self._within = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "form":
            self._within = True
            self.found.append((attributes["method"].upper(), attributes["action"], set()))
        elif self._within and attributes.get("name"):
            self.found[-1][2].add(attributes["name"])

    def handle_endtag(self, tag):
        self._within = self._within and tag != "form"


def test_admin_forms_are_documented_with_all_fields(sample_server, document):
    owner = AdminBrowser(sample_server).log_in(*owner_credentials(sample_server))
    app = EventsApp(sample_server)
    app.send(b"{}")
    reject = app.request("/rejected-events", token=app.create_token("read")).json()[
        "rejected_events"
    ][0]["id"]
    event = app.send(event_body()).json()["id"]
    pages = {row.path for row in ROUTE_CASES if row.method == "GET" and row.callers == OWNER}
    pages -= {"/admin/live"}
    pages |= {f"/admin/events/{event}/delete", f"/admin/rejected-events/{reject}"}
    pages |= {"/admin/stories/1/remove", "/admin/apps/1/revoke?token=1"}
    pages |= {"/admin/users/remove?name=x", "/admin/schemas/edit?category=a&name=b"}
    visitor = AdminBrowser(sample_server).get("/admin/login").text
    found = Forms(visitor).found
    for path in pages:
        found += Forms(owner.get(path).text).found
    seen: dict[tuple[str, str], set[str]] = {}
    for method, action, names in found:
        (path,) = (
            path
            for path in document["paths"]
            if path.startswith("/admin")
            and re.fullmatch(re.sub(r"{\w+}", r"\\d+", path), action)
            and method.lower() in document["paths"][path]
        )
        seen.setdefault((method, path), set()).update(names)
    for (method, path), names in seen.items():
        operation = document["paths"][path][method.lower()]
        arguments = {each["name"] for each in operation.get("parameters", ())}
        if method == "GET":
            assert names <= arguments, path
            continue
        content = operation.get("requestBody", {}).get("content", {})
        fields = {name for kind in content.values() for name in kind["schema"]["properties"]}
        assert names == fields, path
    forms = {
        (method, path) for method, path, _ in operations(document) if path.startswith("/admin")
    }
    # The set-up form exists only before the first user (test_login.py).
    unseen = {each for each in forms if each[0] == "POST"} - seen.keys()
    assert unseen == {("POST", "/admin/setup")}


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_every_curl_command_of_the_page_works_unchanged(sample_server):
    """A token with all scopes runs the commands; admin pages need a browser."""
    page = sample_server.request("/api/v1/docs/").text
    token = EventsApp(sample_server).create_token("write", "read", "admin")
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
        # The example ids do not exist, so 404 is a valid status.
        fits = ("200", "201", "202", "204", "302", "404")
        fits += ("422",) if "/conversions" in command else ()
        assert done.stdout in fits, command


def test_the_page_loads_only_own_resources_and_fits_a_phone(sample_server, browser):
    address = f"http://127.0.0.1:{sample_server.port}"
    browser.set_window_size(390, 900)
    requested_urls(browser)
    browser.get(f"{address}/api/v1/docs/")
    assert browser.find_element(By.TAG_NAME, "h1").text == "Marquee API"
    assert [each for each in requested_urls(browser) if not each.startswith(address)] == []
    assert browser.get_log("browser") == []
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(wide) <= 0
    for link in browser.find_elements(By.CSS_SELECTOR, "a[href^='#']"):
        name = link.get_attribute("href").partition("#")[2]
        assert browser.execute_script("return !!document.getElementById(arguments[0])", name), name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_legible_in_light_and_dark(sample_server, browser, scheme):
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    browser.get(f"http://127.0.0.1:{sample_server.port}/api/v1/docs/")
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
        assert contrast_ratio(ink, grounds[ground]) >= 4.5, place


@pytest.mark.gen_test(timeout=60)
async def test_the_page_has_no_scripts_and_no_inline_styles(http_client, base_url):
    answer = await http_client.fetch(base_url + "/api/v1/docs/")
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert not re.search(r"<script|<style| style=| on\w+=", answer.body.decode())


@pytest.mark.gen_test(timeout=60)
async def test_the_compressed_page_is_small(http_client, base_url):
    packed = await http_client.fetch(
        base_url + "/api/v1/docs/", headers={"Accept-Encoding": "gzip"}, decompress_response=False
    )
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.body) < 30_000


def run_schemathesis(server, *words: str, **headers: str) -> str:
    """Test the server with schemathesis by its own document; return the output.

    Schemathesis writes files to its working directory, which is beside the data of the server.
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


ADMIN_PATHS = "--include-path-regex=^/admin"
OTHER_PATHS = "--exclude-path-regex=^/admin"
# These pages end or replace the session, so they are tested on their own.
LOGIN_PATHS = "^/admin/(login|logout|setup)$"


@pytest.mark.parametrize(
    "examples", [5, pytest.param(100, marks=pytest.mark.long)], ids=["some", "many"]
)
def test_responses_to_generated_requests_match_the_document(start_server, examples):
    server = start_server("--sample")
    output = run_schemathesis(
        server,
        OTHER_PATHS,
        f"--max-examples={examples}",
        Authorization=f"Bearer {EventsApp(server).create_token('write', 'read', 'admin')}",
    )
    assert re.search(r"Tested: [4-9]\d", output), output


@pytest.mark.parametrize(
    "examples", [1, pytest.param(50, marks=pytest.mark.long)], ids=["some", "many"]
)
def test_admin_responses_to_generated_requests_match_the_document(start_server, examples):
    server = start_server("--sample")
    owner = AdminBrowser(server).log_in(*owner_credentials(server))
    run_schemathesis(
        server,
        ADMIN_PATHS,
        f"--exclude-path-regex={LOGIN_PATHS}",
        f"--max-examples={examples}",
        Cookie=owner.cookie,
        Sec_Fetch_Site="same-origin",
    )


def test_login_responses_to_generated_requests_match_the_document(start_server):
    server = start_server("--sample")
    login_paths = f"--include-path-regex={LOGIN_PATHS}"
    run_schemathesis(server, login_paths, "--max-examples=5", Sec_Fetch_Site="same-origin")


def test_the_collection_in_docs_is_current():
    assert json.loads(collection.PATH.read_text()) == collection.build_collection()


@pytest.mark.long
def test_newman_runs_every_request_of_the_collection(start_server):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("newman comes by npm, which is not installed")
    server = start_server("--sample")
    token = EventsApp(server).create_token("write", "read", "admin")
    BUILD.mkdir(parents=True, exist_ok=True)
    install = [npm, "install", "--no-fund", "--no-audit", "--prefix", BUILD, "newman@6.2.2"]
    subprocess.run(install, check=True, capture_output=True)
    values = {"base": f"http://127.0.0.1:{server.port}", "token": token}
    given = [f"--env-var={name}={value}" for name, value in values.items()]
    newman = BUILD / "node_modules" / ".bin" / "newman"
    command = [newman, "run", collection.PATH, "--color=off", *given]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]


def with_another_type(responses) -> None:
    responses["200"]["content"] = {"application/json": {"schema": {"type": "object"}}}


def without_a_status(responses) -> None:
    """The response `default` does not document a 404."""
    del responses["404"]


@pytest.mark.parametrize(
    ("path", "change", "words"),
    [
        ("/healthz", with_another_type, "Content-Type"),
        ("/banners/{banner}", without_a_status, "Undocumented status code"),
    ],
)
def test_schemathesis_finds_a_response_that_differs_from_the_document(
    start_server, tmp_path, document, path, change, words
):
    """Control: the same run fails for a document with a changed response."""
    document = json.loads(json.dumps(document))
    document["paths"] = {path: document["paths"][path]}
    change(document["paths"][path]["get"]["responses"])
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    server = start_server("--sample")
    url = f"--url=http://127.0.0.1:{server.port}"
    command = [PROGRAM, "run", tmp_path / "openapi.json", url, "--no-color", "--max-examples=1"]
    done = subprocess.run(command, cwd=tmp_path, env=HOOKED, capture_output=True, text=True)
    assert done.returncode == 1 and words in done.stdout
