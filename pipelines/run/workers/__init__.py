"""Several worker processes that make the shards of one dataset."""
