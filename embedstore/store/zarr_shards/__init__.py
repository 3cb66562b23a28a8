"""Arrays as canonical, uncompressed zarr v3 shards: written whole, read at the speed of a memory map."""
