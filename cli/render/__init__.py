"""What commands print: a table for people, TSV or JSON for programs; messages and progress on stderr."""
