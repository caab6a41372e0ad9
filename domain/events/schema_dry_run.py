"""A dry run of a rule: what it would have rejected of events that were taken."""

from collections.abc import Iterable
from typing import Any

import msgspec

from domain.common.validation_errors import FieldError
from domain.events.event_schema import CompiledEventSchema

# So many of those that are wrong are shown.
MAX_DRY_RUN_EXAMPLES = 10


class DryRunExample(msgspec.Struct):
    """An event that the rule rejects."""

    id: str
    data: msgspec.Raw
    errors: list[FieldError]


class SchemaDryRun(msgspec.Struct):
    """What became of events under a rule; `examples` are the first that it rejects."""

    looked_at: int = 0
    rejected: int = 0
    examples: list[DryRunExample] = msgspec.field(default_factory=list)

    def judge(self, rule: CompiledEventSchema, some: Iterable[tuple[str, msgspec.Raw]]) -> None:
        """Look at more events, each its id and data."""
        for number, said in some:
            data: Any = msgspec.json.decode(said)
            self.looked_at += 1
            if rule.takes(data):
                continue
            self.rejected += 1
            if len(self.examples) < MAX_DRY_RUN_EXAMPLES:
                self.examples.append(DryRunExample(number, said, rule.faults(data, "data")))
