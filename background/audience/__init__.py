"""Workers of active visitors and polled hosts."""
