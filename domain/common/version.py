"""Version of Marquee; setup.cfg and the OpenAPI document read it from here."""

VERSION = "0.1.0"
