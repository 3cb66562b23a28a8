"""What a head reads: vectors, residues, pairs or sequences, streamed in blocks."""
