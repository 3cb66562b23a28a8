"""Runs units of work: in this process, or in one process a device."""
