"""Make the README's pictures from the running program: `.venv/bin/python docs/pictures.py`.

With `--all FOLDER`, take screenshots of every admin page in light mode, in dark mode and at phone
width. Needs selenium (`make install-dev`) and chromium with its driver (Debian: chromium
chromium-driver). What is shown is the sample, and some minutes of traffic that is played.
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
# Name: path, width, height, dark, scale.
PICTURES = {
    "campaign": ("campaigns/1/", 1100, 760, False),
    "campaign-dark": ("campaigns/1/", 500, 760, True),
    "live": ("live/played.example?apikey=token_played", 1000, 700, False),
    "overview": ("admin/", 1180, 800, False),
    "candidates": ("admin/campaigns/1", 1180, 800, True),
}
LOOKS = {"light": (1280, 900, False), "dark": (1280, 900, True), "phone": (390, 844, False)}
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
WORDS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-sync", "--no-first-run", "--hide-scrollbars")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", metavar="FOLDER", type=Path, help="all admin pages")
    parser.add_argument("--play", type=float, default=150, help="seconds of traffic (150)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        words = [sys.executable, "server.py", "serve", "--sample", "--port", "0", "--data", data]
        server = subprocess.Popen(
            [*words, "--json"], cwd=HERE.parent, stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        driver = browser(data)
        try:
            told = json.loads(server.stdout.readline())
            over = threading.Event()
            players = play(told, over)
            time.sleep(given.play)
            log_in(driver, told)
            if given.all:
                shoot_all(driver, told["address"], given.all)
            else:
                for name, (path, wide, high, dark) in PICTURES.items():
                    shoot(driver, told["address"] + path, HERE / f"{name}.png", wide, high, dark)
            over.set()
            for each in players:
                each.join()
        finally:
            driver.quit()
            server.terminate()
            server.wait(20)


def browser(profile: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in (*WORDS, f"--user-data-dir={profile}/profile"):
        options.add_argument(word)
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


def play(told: dict, over: threading.Event) -> list[threading.Thread]:
    """Visits and events until it is over, more and less of them, some of which are wrong."""
    host, chance = re.sub(r"^\w+://|/$", "", told["address"]), random.Random(7)
    token = told["apps"][0]["secret_token"]
    key = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    began = time.monotonic()

    def visitor(number: int) -> None:
        line = http.client.HTTPConnection(host)
        while not over.is_set():
            page = f"/campaigns/{chance.randrange(1, 12)}/"
            line.request("GET", page)
            line.getresponse().read()
            line.request("GET", f"/banners/{chance.randrange(101, 161)}")
            line.getresponse().read()
            data = {"host": "www.example.com", "path": page}
            name = chance.choice(("pageview", "pageview", "cta click"))
            if name == "cta click" and chance.random() < 0.98:
                data["element"] = "chat bubble"
            event = {
                "session_id": f"e2085be5-9137-4e4e-80b5-{chance.randrange(40):012d}",
                "category": "page interaction",
                "name": name,
                "data": data,
                "timestamp": datetime.now(UTC).isoformat(),
            }
            line.request("POST", "/events", json.dumps(event), key)
            line.getresponse().read()
            wave = 1.2 + abs((time.monotonic() - began + number * 3) % 40 - 20) / 12
            time.sleep(chance.random() * 0.12 * wave)

    threads = [threading.Thread(target=visitor, args=(number,), daemon=True) for number in range(6)]
    for each in threads:
        each.start()
    return threads


def log_in(driver: webdriver.Chrome, told: dict) -> None:
    driver.get(told["address"] + "admin/login")
    for name in ("name", "password"):
        driver.find_element(By.NAME, name).send_keys(told["owner"][name])
    driver.find_element(By.CSS_SELECTOR, "main button").click()
    time.sleep(1)


def shoot_all(driver: webdriver.Chrome, root: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for look, (wide, high, dark) in LOOKS.items():
        for name, path in ADMIN_PAGES.items():
            place = folder / f"{name}-{look}.png"
            shoot(driver, f"{root}admin/{path}", place, wide, high, dark, whole=True)


def shoot(
    driver: webdriver.Chrome,
    address: str,
    place: Path,
    wide: int,
    high: int,
    dark: bool,
    whole: bool = False,
) -> None:
    """One picture; of the `whole` page, however long, or of what is seen first."""
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})

    def size(height: int) -> None:
        metrics = {"width": wide, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    size(high)
    driver.get(address)
    time.sleep(0.4)
    if whole:
        size(max(high, driver.execute_script("return document.documentElement.scrollHeight")))
    driver.save_screenshot(str(place))


if __name__ == "__main__":
    main()
