"""The programs are for the environments of the consumers: pytest must not import them."""

collect_ignore_glob = ["programs/*"]
