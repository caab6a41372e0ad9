"""A dry run of a rule: what it would have rejected of events that were taken."""

from collections.abc import Iterable
from typing import Any

import msgspec

from rules.faults import Fault
from rules.schema import Rule

# So many of those that are wrong are shown.
SHOWN = 10


class Example(msgspec.Struct):
    """An event that the rule rejects."""

    id: str
    data: msgspec.Raw
    errors: list[Fault]


class Trial(msgspec.Struct):
    """What became of events under a rule; `examples` are the first that it rejects."""

    looked_at: int = 0
    rejected: int = 0
    examples: list[Example] = msgspec.field(default_factory=list)

    def judge(self, rule: Rule, some: Iterable[tuple[str, msgspec.Raw]]) -> None:
        """Look at more events, each its id and data."""
        for number, said in some:
            data: Any = msgspec.json.decode(said)
            self.looked_at += 1
            if rule.takes(data):
                continue
            self.rejected += 1
            if len(self.examples) < SHOWN:
                self.examples.append(Example(number, said, rule.faults(data, "data")))
