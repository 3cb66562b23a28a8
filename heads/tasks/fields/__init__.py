"""The rows of the task catalog, a file a field."""
