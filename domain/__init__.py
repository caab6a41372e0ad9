"""Pure rules, per feature: no I/O; the clock and chance are arguments."""
