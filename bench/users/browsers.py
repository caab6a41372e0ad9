"""Browsers that keep their cookies: they view campaigns, load the banners, and click at times.

`python bench/browsers.py` runs this against a server of its own.
"""

import os
import random
import re

from locust import FastHttpUser, between, task

CAMPAIGNS = os.environ.get("CAMPAIGNS", "1").split(",")
LINK = re.compile(r'href="(/campaigns/\d+/banners/(\d+)/click)"')
IMAGE = re.compile(r'src="(/banners/\d+)"')


class Browser(FastHttpUser):
    """One visitor, with a cookie jar of its own."""

    wait_time = between(0.1, 0.5)

    def on_start(self) -> None:
        """Nothing has been seen yet."""
        self.last: dict[str, str] = {}
        self.known: set[str] = set()

    @task
    def view(self) -> None:
        """Open a campaign; the banner must be another one than the last time in this campaign."""
        campaign = random.choice(CAMPAIGNS)
        path = f"/campaigns/{campaign}/"
        with self.client.get(path, name="/campaigns/[id]/", catch_response=True) as page:
            link, image = LINK.search(page.text or ""), IMAGE.search(page.text or "")
            if page.status_code != 200 or link is None or image is None:
                page.failure(f"no banner in the answer ({page.status_code})")
                return
            if self.last.get(campaign) == link[2]:
                page.failure("the same banner twice in a row")
            self.last[campaign] = link[2]
        if image[1] not in self.known:  # a browser keeps it
            self.image(image[1])
        if random.random() < 0.1:
            self.click(link[1])

    def image(self, path: str) -> None:
        """Load the banner."""
        with self.client.get(path, name="/banners/[id]", catch_response=True) as image:
            if image.status_code != 200:
                image.failure(f"answered {image.status_code}")
            elif not (image.headers.get("content-type") or "").startswith("image/"):
                image.failure("not an image")
            else:
                self.known.add(path)

    def click(self, path: str) -> None:
        """Click, and look where it leads without going there: that is somebody else's server."""
        name = "/campaigns/[id]/banners/[id]/click"
        with self.client.get(path, name=name, allow_redirects=False, catch_response=True) as click:
            target = click.headers.get("location") or ""
            if click.status_code != 302 or not target.startswith(("http://", "https://", "/")):
                click.failure(f"answered {click.status_code}, Location: {target!r}")
            else:
                click.success()
