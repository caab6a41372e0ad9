"""Which rule an event goes by: its type's, for its app or else for all (SPEC 3.3)."""

from collections.abc import Collection, Mapping
from typing import Any

from rules.faults import Fault
from rules.schema import Rule

# In the place of an app's number, for a rule that holds for all.
ALL = 0
Key = tuple[int, str, str]  # app, category, name


class Rulebook:
    """All rules at one moment; another one takes its place when they change."""

    def __init__(self, rules: Mapping[Key, Rule], strict: Collection[int] = ()) -> None:
        """`strict` are the apps that take no event of a type without a rule."""
        self._rules = rules
        self._strict = strict

    def find(self, app: int, category: str, name: str) -> Rule | None:
        """The rule of a type; an app's own one goes before that for all."""
        rules = self._rules
        return rules.get((app, category, name)) or rules.get((ALL, category, name))

    def takes(self, app: int, category: str, name: str, data: Any) -> bool:
        """Whether an event of this type with such data is right."""
        rules = self._rules
        rule = rules.get((app, category, name)) or rules.get((ALL, category, name))
        return app not in self._strict if rule is None else rule.takes(data)

    def faults(self, app: int, category: str, name: str, data: Any) -> list[Fault]:
        """What is wrong with an event of this type with such data."""
        rule = self.find(app, category, name)
        if rule is not None:
            return rule.faults(data, "data")
        if app in self._strict:
            return [Fault("/name", "has no rule in this category, and this app takes no others")]
        return []
