"""The sample's played audience: there from the first minute, unless it is left out."""

import time

from demo.demo_traffic import DEMO_HOST, DEMO_TOKEN
from tests.support.audience.audience_site import until

LIVE = f"/live/toppages/?apikey={DEMO_TOKEN}&host={DEMO_HOST}"


def test_the_sample_has_visitors_at_once(start):
    server = start("--sample", "--reading-seconds", "0.5")
    assert any(
        f"/live/{DEMO_HOST}?apikey={DEMO_TOKEN}" in line for line in until(lambda: server.told[3:])
    )
    assert sum(page["visitors"] for page in server.ask(LIVE).json()) > 50
    until(
        lambda: server.ask(
            f"/api/v1.0/increasingconcurrents?apikey={DEMO_TOKEN}&host={DEMO_HOST}"
        ).json()
    )
    assert server.ask(f"/live/{DEMO_HOST}?apikey={DEMO_TOKEN}").status == 200
    assert server.stop() == 0
    assert "Traceback" not in server.log
    # It goes on with the sample, and not without it.
    quiet = start()
    time.sleep(2)
    assert f"/live/{DEMO_HOST}" not in "".join(quiet.told)
    visits = float(quiet.ask("/metrics").text.partition("\nmarquee_visits ")[2].split()[0])
    time.sleep(2)
    later = float(quiet.ask("/metrics").text.partition("\nmarquee_visits ")[2].split()[0])
    assert later <= visits


def test_it_can_be_left_out(start):
    server = start("--sample", "--no-traffic")
    time.sleep(2)
    assert server.ask(LIVE).json() == []
    assert f"/live/{DEMO_HOST}" not in "".join(server.told)
