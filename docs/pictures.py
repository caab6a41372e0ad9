"""Make the README's pictures from the running program: `.venv/bin/python docs/pictures.py`.

Needs chromium (Debian: chromium). Each is the sample's page, wide and light beside narrow and dark.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
VIEWS = {
    "campaign.png": ("campaigns/1/", 1100, 760, False),
    "campaign-dark.png": ("campaigns/1/", 500, 760, True),
    "live.png": ("live/played.example?apikey=token_played", 1000, 700, False),
}
# Seconds until the sample's audience has been there for a while, and one of its pages rises.
WAIT = 150
CHROMIUM = [
    "chromium",
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
]


def main() -> None:
    with tempfile.TemporaryDirectory() as data:
        words = [sys.executable, "server.py", "serve", "--sample", "--port", "0", "--data", data]
        server = subprocess.Popen(words, cwd=HERE.parent, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            root = next(filter(None, (re.search(r"http://\S+/", line) for line in server.stdout)))
            time.sleep(WAIT)
            for name, (path, wide, high, dark) in VIEWS.items():
                look = ["--blink-settings=preferredColorScheme=0"] if dark else []
                shot = [f"--window-size={wide},{high}", f"--screenshot={HERE / name}"]
                subprocess.run([*CHROMIUM, *look, *shot, root[0] + path], check=True)
        finally:
            server.terminate()
            server.wait(20)


if __name__ == "__main__":
    main()
