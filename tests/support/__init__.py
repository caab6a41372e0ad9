"""Shared helpers of the tests: clients, servers, load generators, fault injection."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "support" / "programs"
