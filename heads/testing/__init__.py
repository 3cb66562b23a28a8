"""The battery that every head passes."""
