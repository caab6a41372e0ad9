"""What is held in memory."""
