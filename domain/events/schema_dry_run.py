"""Dry run of an event schema against stored events."""

from collections.abc import Iterable
from typing import Any

import msgspec

from domain.common.validation_errors import FieldError
from domain.events.event_schema import CompiledEventSchema

# Maximum number of rejected events in the report.
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

    def judge(self, schema: CompiledEventSchema, events: Iterable[tuple[str, msgspec.Raw]]) -> None:
        """Validate more events, given as (id, data)."""
        for event_id, raw in events:
            data: Any = msgspec.json.decode(raw)
            self.looked_at += 1
            if schema.takes(data):
                continue
            self.rejected += 1
            if len(self.examples) < MAX_DRY_RUN_EXAMPLES:
                self.examples.append(DryRunExample(event_id, raw, schema.faults(data, "data")))
