"""The sample's played audience: there from the first minute, unless it is left out."""

import time

from demo.demo_traffic import DEMO_HOST, DEMO_TOKEN
from tests.support.audience.audience_site import wait_for

LIVE = f"/live/toppages/?apikey={DEMO_TOKEN}&host={DEMO_HOST}"


def test_the_sample_has_visitors_at_once(start_server):
    server = start_server("--sample", "--reading-seconds", "0.5")
    assert any(
        f"/live/{DEMO_HOST}?apikey={DEMO_TOKEN}" in line
        for line in wait_for(lambda: server.stdout_lines[3:])
    )
    assert sum(page["visitors"] for page in server.request(LIVE).json()) > 50
    wait_for(
        lambda: server.request(
            f"/api/v1.0/increasingconcurrents?apikey={DEMO_TOKEN}&host={DEMO_HOST}"
        ).json()
    )
    assert server.request(f"/live/{DEMO_HOST}?apikey={DEMO_TOKEN}").status == 200
    assert server.stop() == 0
    assert "Traceback" not in server.log
    # It goes on with the sample, and not without it.
    quiet = start_server()
    time.sleep(2)
    assert f"/live/{DEMO_HOST}" not in "".join(quiet.stdout_lines)
    visits = float(quiet.request("/metrics").text.partition("\nmarquee_visits ")[2].split()[0])
    time.sleep(2)
    later = float(quiet.request("/metrics").text.partition("\nmarquee_visits ")[2].split()[0])
    assert later <= visits


def test_it_can_be_left_out(start_server):
    server = start_server("--sample", "--no-traffic")
    time.sleep(2)
    assert server.request(LIVE).json() == []
    assert f"/live/{DEMO_HOST}" not in "".join(server.stdout_lines)
