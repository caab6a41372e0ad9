"""The program's version, in one place: setup.cfg and the OpenAPI document take it from here."""

VERSION = "0.1.0"
