"""What heads cost beside the libraries that do the same, on the same vectors."""
