"""Demo traffic of the sample, and the option that disables it."""

import time

from demo.demo_traffic import DEMO_HOST, DEMO_TOKEN
from tests.support.audience.audience_site import wait_for

TOP_PAGES_URL = f"/live/toppages/?apikey={DEMO_TOKEN}&host={DEMO_HOST}"


def test_sample_has_visitors_at_start(start_server):
    server = start_server("--sample", "--reading-seconds", "0.5")
    assert any(
        f"/live/{DEMO_HOST}?apikey={DEMO_TOKEN}" in line
        for line in wait_for(lambda: server.stdout_lines[3:])
    )
    assert sum(page["visitors"] for page in server.request(TOP_PAGES_URL).json()) > 50
    wait_for(
        lambda: server.request(
            f"/api/v1.0/increasingconcurrents?apikey={DEMO_TOKEN}&host={DEMO_HOST}"
        ).json()
    )
    assert server.request(f"/live/{DEMO_HOST}?apikey={DEMO_TOKEN}").status == 200
    assert server.stop() == 0
    assert "Traceback" not in server.log
    # A server started without --sample has no demo traffic.
    without_sample = start_server()
    time.sleep(2)
    assert f"/live/{DEMO_HOST}" not in "".join(without_sample.stdout_lines)
    visits = float(
        without_sample.request("/metrics").text.partition("\nmarquee_visits ")[2].split()[0]
    )
    time.sleep(2)
    later = float(
        without_sample.request("/metrics").text.partition("\nmarquee_visits ")[2].split()[0]
    )
    assert later <= visits


def test_no_traffic_option_disables_demo_traffic(start_server):
    server = start_server("--sample", "--no-traffic")
    time.sleep(2)
    assert server.request(TOP_PAGES_URL).json() == []
    assert f"/live/{DEMO_HOST}" not in "".join(server.stdout_lines)
