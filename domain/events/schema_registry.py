"""Which rule an event goes by: its type's, for its app or else for all."""

from collections.abc import Mapping
from typing import Any

from domain.common.validation_errors import FieldError
from domain.events.event_schema import CompiledEventSchema

# In the place of an app's number, for a rule that holds for all.
ALL_APPS = 0
SchemaKey = tuple[int, str, str]  # app, category, name


class AppSchemas:
    """The rules for the events of one app."""

    __slots__ = ("_by_type", "_strict", "app")

    def __init__(
        self, app: int, strict: bool, by_type: Mapping[tuple[str, str], CompiledEventSchema]
    ) -> None:
        """A `strict` app sends no events of a type without a rule."""
        self.app = app
        self._strict = strict
        self._by_type = by_type

    def takes(self, category: str, name: str, data: Any) -> bool:
        """Whether an event of this type with such data is right."""
        rule = self._by_type.get((category, name))
        return not self._strict if rule is None else rule.takes(data)

    def faults(self, category: str, name: str, data: Any) -> list[FieldError]:
        """What is wrong with an event of this type with such data."""
        rule = self._by_type.get((category, name))
        if rule is not None:
            return rule.faults(data, "data")
        if self._strict:
            return [
                FieldError("/name", "has no rule in this category, and this app takes no others")
            ]
        return []


class SchemaRegistry:
    """All rules at one moment; another one takes its place when they change."""

    def __init__(self, rules: Mapping[SchemaKey, CompiledEventSchema]) -> None:
        self._rules = rules
        self._of: dict[tuple[int, bool], AppSchemas] = {}

    def of(self, app: int, strict: bool) -> AppSchemas:
        """The rules for an app; its own one for a type goes before that for all."""
        found = self._of.get((app, strict))
        if found is None:
            by_type = {
                (category, name): rule
                for (whose, category, name), rule in sorted(self._rules.items(), key=_app_of_item)
                if whose in (ALL_APPS, app)
            }
            found = self._of[app, strict] = AppSchemas(app, strict, by_type)
        return found


def _app_of_item(item: tuple[SchemaKey, CompiledEventSchema]) -> int:
    return item[0][0]
