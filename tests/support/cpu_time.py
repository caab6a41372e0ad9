"""CPU time limits scaled to the speed of the machine."""

from time import process_time

# The reference machine runs the computation below in 16 ms.
COMPUTATIONS_PER_20_MS = 1.25


def scaled_20_ms() -> float:
    """Return 20 ms in seconds, or more if this machine is slower than the reference machine."""

    def computation() -> float:
        began = process_time()
        sum(range(1_000_000))
        return process_time() - began

    return max(0.020, COMPUTATIONS_PER_20_MS * min(computation() for _ in range(5)))
