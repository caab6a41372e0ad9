"""Settings: their sources, precedence and validation."""

import pytest

from app.settings import (
    SETTING_NAMES,
    SettingError,
    Settings,
    resolve_settings,
    service_links,
    settings_table,
)


def test_precedence_is_command_line_environment_file_default(tmp_path):
    config = tmp_path / "marquee.toml"
    config.write_text('port = 1\nhost = "192.0.2.1"\ntz = "Asia/Kathmandu"\n')
    found = resolve_settings(
        {"port": 3}, {"MARQUEE_PORT": "2", "MARQUEE_HOST": "192.0.2.2"}, str(config)
    )
    assert (found.port, found.host, found.tz) == (3, "192.0.2.2", "Asia/Kathmandu")
    assert found.idle_seconds == Settings().idle_seconds


@pytest.mark.parametrize("name", SETTING_NAMES)
def test_every_setting_has_a_description_and_is_read_from_the_environment(name):
    row = next(row for row in settings_table() if row[0] == name)
    assert row[3]
    invalid = {"MARQUEE_" + name.upper(): "\x00invalid"}
    if row[1] is not str or row[4]:
        with pytest.raises(SettingError, match=name):
            resolve_settings({}, invalid, None)


@pytest.mark.parametrize(
    ("options", "environ", "message"),
    [
        ({}, {"MARQUEE_PORT": "99999"}, "the environment: port"),
        ({}, {"MARQUEE_RATE_PER_ADRESS": "5/s"}, "did you mean MARQUEE_RATE_PER_ADDRESS?"),
        ({}, {"MARQUEE_PORT": "x"}, "the environment: port"),
        ({"port": -1}, {}, "the command line: port"),
        ({"tz": "Mars/Olympus"}, {}, "Europe/Berlin"),
        ({"tz": "../../etc/passwd"}, {}, "unknown time zone"),
        ({"tls_cert": "a.pem"}, {}, "tls_key"),
        ({"proxies": "10.0.0.1, proxy.example"}, {}, "proxies: 'proxy.example'"),
        ({}, {"MARQUEE_PROXIES": "10.0.0.1/8"}, "proxies: 10.0.0.1/8"),
        ({"idle_seconds": 0}, {}, "idle_seconds"),
        ({"server": "apache"}, {}, "server"),
        ({"prot": 1}, {}, "did you mean 'port'"),
    ],
)
def test_error_names_the_invalid_setting_and_its_source(options, environ, message):
    with pytest.raises(SettingError, match=message):
        resolve_settings(options, environ, None)


LINKS = {
    "MARQUEE_SERVICE_HOST": "10.96.14.7",
    "MARQUEE_SERVICE_PORT": "8000",
    "MARQUEE_SERVICE_PORT_HTTP": "8000",
    "MARQUEE_PORT": "tcp://10.96.14.7:8000",
    "MARQUEE_PORT_8000_TCP": "tcp://10.96.14.7:8000",
    "MARQUEE_PORT_8000_TCP_PROTO": "tcp",
    "MARQUEE_PORT_8000_TCP_PORT": "8000",
    "MARQUEE_PORT_8000_TCP_ADDR": "10.96.14.7",
    "MARQUEE_HOST_SERVICE_HOST": "10.96.14.8",  # of a service named marquee-host
    "MARQUEE_HOST_PORT": "tcp://[fd00::8]:80",
}


def test_service_link_variables_are_ignored():
    assert resolve_settings({}, LINKS, None) == Settings()
    assert service_links(LINKS) == list(LINKS)
    others = {"MARQUEE_PORT": "8001", "MARQUEE_HOST": "::1", "HOME": "/"}
    found = resolve_settings({}, {**LINKS, **others}, None)
    assert (found.port, found.host) == (8001, "::1")
    assert service_links(others) == []


@pytest.mark.parametrize("port", ["tcp:/10.0.0.1:80", "tcp://10.0.0.1", "http://a:80", "80a"])
def test_port_that_is_not_a_service_link_is_rejected(port):
    with pytest.raises(SettingError, match="the environment: port"):
        resolve_settings({}, {**LINKS, "MARQUEE_PORT": port}, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [("prot = 1", "did you mean 'port'"), ("port = ", "invalid TOML"), ("port = 'x'", "port")],
)
def test_error_names_the_problem_of_the_config_file(tmp_path, text, message):
    config = tmp_path / "marquee.toml"
    config.write_text(text)
    with pytest.raises(SettingError, match=message):
        resolve_settings({}, {}, str(config))


def test_missing_config_file_is_rejected():
    with pytest.raises(SettingError, match="cannot be read"):
        resolve_settings({}, {}, "/nowhere/marquee.toml")
