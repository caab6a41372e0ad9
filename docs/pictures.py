"""Take the screenshots of the README from a running server: `.venv/bin/python docs/pictures.py`.

With `--all FOLDER`, take screenshots of every admin page in light mode, in dark mode and at phone
width. Needs selenium (`make install-dev`) and chromium with its driver (Debian: chromium
chromium-driver). The pages show the demo data and a few minutes of generated traffic.
"""

import argparse
import http.client
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By

HERE = Path(__file__).parent
# Path, width, height and dark mode by file name.
PICTURES = {
    "campaign": ("campaigns/1/", 1100, 760, False),
    "campaign-dark": ("campaigns/1/", 500, 760, True),
    "live": ("live/played.example?apikey=token_played", 1000, 700, False),
    "overview": ("admin/", 1180, 800, False),
    "candidates": ("admin/campaigns/1", 1180, 800, True),
}
MODES = {"light": (1280, 900, False), "dark": (1280, 900, True), "phone": (390, 844, False)}
SESSION = "e2085be5-9137-4e4e-80b5-000000000007"
ADMIN_PAGES = {
    "overview": "",
    "campaigns": "campaigns",
    "campaign": "campaigns/1",
    "preview": "campaigns/1/preview",
    "upload": "campaigns/upload",
    "imports": "imports",
    "import": "imports/1",
    "audience": "audience",
    "stories": "stories",
    "story": "stories/edit?id=1",
    "remove-story": "stories/1/remove",
    "events": "events",
    "session": f"sessions?id={SESSION}",
    "erase-session": f"sessions/erase?id={SESSION}",
    "schemas": "schemas",
    "schema": "schemas/edit?category=page+interaction&name=pageview",
    "new-schema": "schemas/edit",
    "rejected-events": "rejected-events",
    "apps": "apps",
    "app": "apps/1",
    "revoke": "apps/1/revoke?token=1",
    "health": "health",
    "users": "users",
    "audit-log": "audit",
    "account": "account",
}
BROWSER_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-sync", "--no-first-run", "--hide-scrollbars",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", metavar="FOLDER", type=Path, help="all admin pages")
    parser.add_argument("--play", type=float, default=150, help="seconds of traffic (150)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "server.py", "serve", "--sample", "--port", "0", "--data", data]
        server = subprocess.Popen(
            [*command, "--json"], cwd=HERE.parent, stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        driver = browser(data)
        try:
            startup = json.loads(server.stdout.readline())
            stop = threading.Event()
            threads = start_traffic(startup, stop)
            time.sleep(arguments.play)
            log_in(driver, startup)
            if arguments.all:
                take_all(driver, startup["address"], arguments.all)
            else:
                for name, (path, width, height, dark) in PICTURES.items():
                    url, target = startup["address"] + path, HERE / f"{name}.png"
                    take_screenshot(driver, url, target, width, height, dark)
            stop.set()
            for each in threads:
                each.join()
        finally:
            driver.quit()
            server.terminate()
            server.wait(20)


def browser(profile: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in (*BROWSER_OPTIONS, f"--user-data-dir={profile}/profile"):
        options.add_argument(word)
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


def start_traffic(startup: dict, stop: threading.Event) -> list[threading.Thread]:
    """Start threads that send visits and events at a varying rate, some invalid, until `stop`."""
    host, rng = re.sub(r"^\w+://|/$", "", startup["address"]), random.Random(7)
    token = startup["apps"][0]["secret_token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    started = time.monotonic()

    def visitor(number: int) -> None:
        connection = http.client.HTTPConnection(host)
        while not stop.is_set():
            page = f"/campaigns/{rng.randrange(1, 12)}/"
            connection.request("GET", page)
            connection.getresponse().read()
            connection.request("GET", f"/banners/{rng.randrange(101, 161)}")
            connection.getresponse().read()
            data = {"host": "www.example.com", "path": page}
            name = rng.choice(("pageview", "pageview", "cta click"))
            if name == "cta click" and rng.random() < 0.98:
                data["element"] = "chat bubble"
            event = {
                "session_id": f"e2085be5-9137-4e4e-80b5-{rng.randrange(40):012d}",
                "category": "page interaction",
                "name": name,
                "data": data,
                "timestamp": datetime.now(UTC).isoformat(),
            }
            connection.request("POST", "/events", json.dumps(event), headers)
            connection.getresponse().read()
            wave = 1.2 + abs((time.monotonic() - started + number * 3) % 40 - 20) / 12
            time.sleep(rng.random() * 0.12 * wave)

    threads = [threading.Thread(target=visitor, args=(number,), daemon=True) for number in range(6)]
    for each in threads:
        each.start()
    return threads


def log_in(driver: webdriver.Chrome, startup: dict) -> None:
    driver.get(startup["address"] + "admin/login")
    for name in ("name", "password"):
        driver.find_element(By.NAME, name).send_keys(startup["owner"][name])
    driver.find_element(By.CSS_SELECTOR, "main button").click()
    time.sleep(1)


def take_all(driver: webdriver.Chrome, root: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for mode, (width, height, dark) in MODES.items():
        for name, path in ADMIN_PAGES.items():
            target = folder / f"{name}-{mode}.png"
            take_screenshot(driver, f"{root}admin/{path}", target, width, height, dark, whole=True)


def take_screenshot(
    driver: webdriver.Chrome,
    address: str,
    target: Path,
    width: int,
    height: int,
    dark: bool,
    whole: bool = False,
) -> None:
    """Take a screenshot of the `whole` page, or of the first screen."""
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})

    def size(height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    size(height)
    driver.get(address)
    time.sleep(0.4)
    if whole:
        size(max(height, driver.execute_script("return document.documentElement.scrollHeight")))
    driver.save_screenshot(str(target))


if __name__ == "__main__":
    main()
