"""The documentation: links resolve, generated pages and diagrams match the code."""

import re
import runpy
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from handlers.openapi.docs_page import API_RESOURCES
from handlers.openapi.document import build_document

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TOP = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md")
PAGES = [ROOT / name for name in TOP] + sorted(DOCS.rglob("*.md"))
FENCE = re.compile(r"(?ms)^ *```.*?^ *```\n?")
LINK = re.compile(r"\]\(([^()\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
# Folders of code are checked once the code has moved into its new layout.
FOLDERS = ["tests", "bench", "docs", "deploy", "client"]
if (ROOT / "domain").is_dir():
    FOLDERS += ["app", "background", "commands", "demo", "domain", "handlers", "httpserver"]
    FOLDERS += ["imports", "store", "static", "templates"]
PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w")


@cache
def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    text = FENCE.sub("", page.read_text("utf-8"))
    plain = [re.sub(r"[^\w\- ]", "", each.lower()) for each in re.findall(r"(?m)^#+ (.+)$", text)]
    return {each.strip().replace(" ", "-") for each in plain}


def links(page: Path) -> list[str]:
    text = FENCE.sub("", page.read_text("utf-8"))
    found = [one or other for one, other in LINK.findall(re.sub(r"`[^`\n]*`", "", text))]
    return [each for each in found if not re.match(r"\w+:", each)]


@pytest.mark.parametrize("page", PAGES, ids=lambda it: str(it.relative_to(ROOT)))
def test_internal_links_resolve(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda it: str(it.relative_to(ROOT)))
def test_paths_named_in_a_page_exist(page: Path) -> None:
    named = PATH.findall(page.read_text("utf-8"))
    assert [each for each in named if not (ROOT / each).exists()] == []


def test_every_page_can_be_reached_from_the_index() -> None:
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop().resolve()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            left += [page.parent / each.partition("#")[0] for each in links(page) if each[0] != "#"]
    assert {page.resolve() for page in PAGES} - reached == set()


def test_readme_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("name", ["settings.md", "cli.md"])
def test_generated_reference_matches_the_code(name: str) -> None:
    wanted = runpy.run_path(str(DOCS / "make_reference.py"))["pages"]()[name]
    assert (DOCS / "reference" / name).read_text("utf-8") == wanted, "run `make docs`"


def test_metrics_reference_matches_a_running_server() -> None:
    wanted = runpy.run_path(str(DOCS / "make_reference.py"))["metrics_page"]()
    assert (DOCS / "reference" / "metrics.md").read_text("utf-8") == wanted, "run `make docs`"


def test_diagrams_match_their_source() -> None:
    wanted = runpy.run_path(str(DOCS / "diagrams.py"))["files"]()
    assert wanted
    for name, text in wanted.items():
        assert (DOCS / name).read_text("utf-8") == text, f"{name}: run `make docs`"


def test_every_fenced_block_names_its_language() -> None:
    for page in PAGES:
        opening = re.findall(r"(?m)^ *```(.*)$", page.read_text("utf-8"))[::2]
        assert all(opening), page


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_docs_runs_every_generator() -> None:
    done = subprocess.run(
        ["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for script in ("make_reference.py", "diagrams.py", "collection.py"):
        assert f"docs/{script}" in done.stdout


def test_http_api_page_lists_the_paths_of_the_openapi_document() -> None:
    def normalized(path: str) -> str:
        return re.sub(r"\{\w+\}", "{}", path.removeprefix("/api/v1")).rstrip("/") or "/"

    page = (DOCS / "reference" / "http-api.md").read_text("utf-8")
    table = page.partition("## Addresses by job")[2]
    documented = build_document(API_RESOURCES)["paths"]
    public = {normalized(each) for each in documented if not each.startswith("/admin")}
    assert {normalized(each) for each in re.findall(r"`(/[^`]*)`", table)} == public
