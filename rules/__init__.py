"""What is true without I/O: slots, ranking, rotation; the clock and chance are arguments."""
