"""What `lookup` is measured by beside alignment programs: searchers, the protocol, and its figures."""
