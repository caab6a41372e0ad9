"""Request budget and circuit breaker for an upstream."""

from collections import deque

BUDGET_WINDOW_SECONDS = 60.0
# The upstream may count a request this much later, so the window here is longer.
WINDOW_SLACK_SECONDS = 2.0
# Bounds of the pause that an upstream requests (`Retry-After`).
MIN_BACK_OFF_SECONDS, MAX_BACK_OFF_SECONDS = 1.0, 3_600.0


class UpstreamBudget:
    """At most `limit` requests in any minute, or fewer if the upstream says so.

    Times are seconds of a monotonic clock.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sent: deque[float] = deque()
        self._until = 0.0
        # Remaining requests as reported by the upstream, and when that report expires.
        self._left, self._left_until = limit, 0.0

    def wait(self, now: float, spare: int = 0) -> float:
        """Return the seconds until a request may be sent that leaves `spare` more; 0 for now."""
        while self._sent and now - self._sent[0] >= BUDGET_WINDOW_SECONDS + WINDOW_SLACK_SECONDS:
            self._sent.popleft()
        wait = self._until - now
        over = len(self._sent) - (self._limit - spare)
        if over >= 0:
            wait = max(wait, self._sent[over] + BUDGET_WINDOW_SECONDS + WINDOW_SLACK_SECONDS - now)
        if self._left <= 0:
            wait = max(wait, self._left_until - now)
        return max(wait, 0.0)

    def spend(self, now: float) -> None:
        """Count a request sent at `now`."""
        self._sent.append(now)
        self._left = self._left - 1 if now < self._left_until else self._limit

    def refund(self, at: float) -> None:
        """Take back a request counted at `at`."""
        if at in self._sent:
            self._sent.remove(at)

    def told(self, remaining: int, now: float) -> None:
        """Record the remaining requests that the upstream reports for its current minute."""
        self._left = remaining
        self._left_until = BUDGET_WINDOW_SECONDS + next(
            (at for at in self._sent if at > now - BUDGET_WINDOW_SECONDS), now
        )

    def rest(self, seconds: float, now: float) -> None:
        """Pause for the time that the upstream requests, within bounds."""
        self._until = max(
            self._until, now + min(max(seconds, MIN_BACK_OFF_SECONDS), MAX_BACK_OFF_SECONDS)
        )


class CircuitBreaker:
    """While an upstream fails, allow one attempt per period; allow all after a success."""

    def __init__(self, period: float, failures: int = 3) -> None:
        """Open after `failures` in a row; then allow one attempt per `period` (s)."""
        self._period = period
        self._limit = failures
        self._failures = 0
        self._next = 0.0

    @property
    def open(self) -> bool:
        """Return whether attempts are limited."""
        return self._failures >= self._limit

    def wait(self, now: float) -> float:
        """Return the seconds until the next attempt is allowed; 0 for now."""
        return max(0.0, self._next - now) if self.open else 0.0

    def trying(self, now: float) -> None:
        """Record the start of an attempt."""
        self._next = now + self._period

    def succeeded(self) -> None:
        """Close the circuit."""
        self._failures = 0

    def failed(self) -> None:
        """Count a failed attempt."""
        self._failures += 1
