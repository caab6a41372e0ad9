"""What is true without I/O: clock and chance are arguments."""
