"""Workers that follow visitors and polled hosts."""
