"""The page that every rival serves: what our own server answered, taken apart."""

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, Self

APART = {"content-length", "date", "connection", "set-cookie", "server"}
Get = Callable[[str, Mapping[str, str]], tuple[int, HTTPMessage, bytes]]


@dataclass(frozen=True)
class Page:
    """One campaign's banner page: its path, headers, cookie, and a body for each banner."""

    path: str
    headers: list[tuple[str, str]]  # without Content-Length, Date, Connection, Set-Cookie
    cookie: str  # the cookie's name
    attributes: dict[str, Any]  # path, max_age, httponly, samesite
    values: list[str]  # the cookie's value that goes with each body
    bodies: list[str]

    @classmethod
    def load(cls, path: str) -> Self:
        """The page in the JSON file at `path`."""
        return cls(**json.loads(Path(path).read_text("utf-8")))

    def save(self, path: Path) -> None:
        """Write the page down for the rivals to load."""
        path.write_text(json.dumps(asdict(self)), "utf-8")


class SpoiledError(Exception):
    """A server answered wrongly or not at all, so that no figure of it means anything."""


def capture(get: Get, path: str) -> Page:
    """Our own page at `path`, taken apart so that every rival can serve the same."""
    faces: dict[str, str] = {}
    for _ in range(400):  # of ten banners with equal chance, each is all but surely among them
        status, headers, body = get(path, {})
        if status != 200:
            raise SpoiledError(f"{path} answers {status}")
        cookie = headers["Set-Cookie"]
        name, value, rest = re.findall(r"([^=]+)=([^;]*);? ?(.*)", cookie)[0]
        faces[value] = body.decode()
    given = dict(part.strip().partition("=")[::2] for part in rest.split(";"))
    given = {key.lower(): text for key, text in given.items()}
    return Page(
        path=path,
        headers=[(key, text) for key, text in headers.items() if key.lower() not in APART],
        cookie=name,
        attributes={
            "path": given["path"],
            "max_age": int(given["max-age"]),
            "httponly": "httponly" in given,
            "samesite": given["samesite"],
        },
        values=list(faces),
        bodies=list(faces.values()),
    )


def example(path: str) -> Page:
    """A page like ours, for benches in which our own server has no part."""
    values = [str(number) for number in range(100, 110)]
    return Page(
        path=path,
        headers=[
            ("Content-Type", "text/html; charset=UTF-8"),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),
        ],
        cookie="banner",
        attributes={
            "path": path.removesuffix("/"),
            "max_age": 3600,
            "httponly": True,
            "samesite": "Lax",
        },
        values=values,
        bodies=[f"<!doctype html><title>{value}</title>{'.' * 1400}" for value in values],
    )


def check(get: Get, page: Page, sent: Mapping[str, str], fixed: bool) -> None:
    """Raise `SpoiledError` unless `get` answers with such a page: status, length, headers, cookie.

    A quarter of the hour may end meanwhile and bring other banners; their pages are as long.
    """
    length = len(page.bodies[0].encode())
    for _ in range(20):
        status, headers, body = get(page.path, sent)
        name, _, value = (headers["Set-Cookie"] or "").partition(";")[0].partition("=")
        told = f"{page.path} answers {status}, {len(body)} bytes, {name}={value}"
        if status != 200 or abs(len(body) - length) > length / 20 or name != page.cookie:
            raise SpoiledError(told)
        if sent.get("Cookie") == f"{name}={value}" and not fixed:
            raise SpoiledError(f"{told}: the same banner again")
        for key, text in page.headers:
            if headers[key] != text:
                raise SpoiledError(f"{told}, and {key}: {headers[key]}, not {text}")


def arguments() -> tuple[Page, int]:
    """The page and the port that a rival was started with."""
    return Page.load(sys.argv[1]), int(sys.argv[2])
