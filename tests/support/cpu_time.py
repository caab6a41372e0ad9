"""Bounds on CPU time that follow the speed of the machine."""

from time import process_time

# A bound of 20 ms is this many times a fixed computation, which takes 16 ms where 20 ms is exact.
COMPUTATIONS_PER_20_MS = 1.25


def scaled_20_ms() -> float:
    """Return the CPU seconds that count as 20 ms here and now: more where the machine is slower."""

    def computation() -> float:
        began = process_time()
        sum(range(1_000_000))
        return process_time() - began

    return max(0.020, COMPUTATIONS_PER_20_MS * min(computation() for _ in range(5)))
