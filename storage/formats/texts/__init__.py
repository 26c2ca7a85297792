"""The texts of exported rows, as a trainer tokenizes them."""
