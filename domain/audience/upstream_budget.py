"""How often an upstream may be asked for a host, and when it is better left alone."""

from collections import deque

BUDGET_WINDOW_SECONDS = 60.0
# A request may take so long to be counted where it arrives, so the minutes here are longer.
WINDOW_SLACK_SECONDS = 2.0
# An upstream's word of when to come back is taken up to so many seconds.
MIN_BACK_OFF_SECONDS, MAX_BACK_OFF_SECONDS = 1.0, 3_600.0


class UpstreamBudget:
    """So many requests within any minute, or fewer where the upstream says so.

    Moments are seconds of a clock that never goes back.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sent: deque[float] = deque()
        self._until = 0.0
        # What the upstream said that it still takes, and until when that holds.
        self._left, self._left_until = most, 0.0

    def wait(self, now: float, spare: int = 0) -> float:
        """Seconds until one more request may be sent, and `spare` more after it; 0 for now."""
        while self._sent and now - self._sent[0] >= BUDGET_WINDOW_SECONDS + WINDOW_SLACK_SECONDS:
            self._sent.popleft()
        wait = self._until - now
        over = len(self._sent) - (self._most - spare)
        if over >= 0:
            wait = max(wait, self._sent[over] + BUDGET_WINDOW_SECONDS + WINDOW_SLACK_SECONDS - now)
        if self._left <= 0:
            wait = max(wait, self._left_until - now)
        return max(wait, 0.0)

    def spend(self, now: float) -> None:
        """A request is sent."""
        self._sent.append(now)
        self._left = self._left - 1 if now < self._left_until else self._most

    def refund(self, at: float) -> None:
        """Take back a request that was spent at `at`."""
        if at in self._sent:
            self._sent.remove(at)

    def told(self, remaining: int, now: float) -> None:
        """The upstream says how many more requests it takes within its minute."""
        self._left = remaining
        self._left_until = BUDGET_WINDOW_SECONDS + next(
            (at for at in self._sent if at > now - BUDGET_WINDOW_SECONDS), now
        )

    def rest(self, seconds: float, now: float) -> None:
        """The upstream wants to be left alone for so long."""
        self._until = max(
            self._until, now + min(max(seconds, MIN_BACK_OFF_SECONDS), MAX_BACK_OFF_SECONDS)
        )


class CircuitBreaker:
    """Lets few tries through while an upstream fails: one a period, and all once one succeeds."""

    def __init__(self, period: float, failures: int = 3) -> None:
        """After so many `failures` in a row, it lets one try a `period` (s) through."""
        self._period = period
        self._limit = failures
        self._failures = 0
        self._next = 0.0

    @property
    def open(self) -> bool:
        """Whether tries are held back."""
        return self._failures >= self._limit

    def wait(self, now: float) -> float:
        """Seconds until a try may be made; 0 for now."""
        return max(0.0, self._next - now) if self.open else 0.0

    def trying(self, now: float) -> None:
        """A try is made."""
        self._next = now + self._period

    def succeeded(self) -> None:
        """A try has succeeded."""
        self._failures = 0

    def failed(self) -> None:
        """A try has failed."""
        self._failures += 1
