"""Event schemas by app and event type; a schema of one app precedes the one for all apps."""

from collections.abc import Mapping
from typing import Any

from domain.common.validation_errors import FieldError
from domain.events.event_schema import CompiledEventSchema

# App number of a schema that applies to all apps.
ALL_APPS = 0
SchemaKey = tuple[int, str, str]  # app, category, name


class AppSchemas:
    """The event schemas that apply to one app."""

    __slots__ = ("_by_type", "_strict", "app")

    def __init__(
        self, app: int, strict: bool, by_type: Mapping[tuple[str, str], CompiledEventSchema]
    ) -> None:
        """A `strict` app accepts only event types that have a schema."""
        self.app = app
        self._strict = strict
        self._by_type = by_type

    def takes(self, category: str, name: str, data: Any) -> bool:
        """Return whether `data` is valid for an event type."""
        schema = self._by_type.get((category, name))
        return not self._strict if schema is None else schema.takes(data)

    def faults(self, category: str, name: str, data: Any) -> list[FieldError]:
        """Return the validation errors of an event."""
        schema = self._by_type.get((category, name))
        if schema is not None:
            return schema.faults(data, "data")
        if self._strict:
            return [
                FieldError("/name", "has no rule in this category, and this app takes no others")
            ]
        return []


class SchemaRegistry:
    """All event schemas, immutable; a change creates another registry."""

    def __init__(self, schemas: Mapping[SchemaKey, CompiledEventSchema]) -> None:
        self._schemas = schemas
        self._by_app: dict[tuple[int, bool], AppSchemas] = {}

    def of(self, app: int, strict: bool) -> AppSchemas:
        """Return the schemas for an app; its own precede those for all apps."""
        found = self._by_app.get((app, strict))
        if found is None:
            by_type = {
                (category, name): schema
                for (owner, category, name), schema in sorted(self._schemas.items(), key=_item_app)
                if owner in (ALL_APPS, app)
            }
            found = self._by_app[app, strict] = AppSchemas(app, strict, by_type)
        return found


def _item_app(item: tuple[SchemaKey, CompiledEventSchema]) -> int:
    return item[0][0]
