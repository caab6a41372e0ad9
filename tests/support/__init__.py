"""Shared helpers of the tests: clients, servers, generators of load and faults."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "support" / "programs"
