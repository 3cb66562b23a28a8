"""What stands beside embeddings in every comparison: alignment, profiles, words and other methods of residues alone."""
