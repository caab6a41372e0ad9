"""Headless Chromium, and measurements of its pages."""

import json
import shutil
from pathlib import Path

import pytest
from selenium import webdriver


def start_chromium(profile: Path, *arguments: str) -> webdriver.Chrome:
    """Start Chromium with extra arguments, or skip the test; the caller quits it."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("chromium or chromedriver is missing (Debian: chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        *arguments,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--window-size=1280,900",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(driver)
    return webdriver.Chrome(options, service)


def requested_urls(browser: webdriver.Chrome) -> set[str]:
    """Return the URLs requested from a network since the previous call.

    URLs of the browser itself (`chrome:`) and of embedded data (`data:`) are left out.
    """
    entries = browser.get_log("performance")  # type: ignore[no-untyped-call]  # selenium
    messages = (json.loads(entry["message"])["message"] for entry in entries)
    urls = {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    return {url for url in urls if not url.startswith(("chrome", "data:"))}


def luminance(colour: str) -> float:
    """Return the relative luminance of an rgb() or rgba() colour (WCAG 2.2)."""
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast_ratio(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2)."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
