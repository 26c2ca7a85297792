"""The interactive prompt of `stepmark sql`, and the output of queries on a terminal."""
