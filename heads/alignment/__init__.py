"""Heads that align sequences: BLASTp, DIAMOND, MMseqs2, phmmer, profiles of families, Smith-Waterman."""
