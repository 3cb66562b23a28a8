"""What a row is made of: vectors of proteins, of residues, of pairs, or the sequences themselves."""
