"""The training and measurement of the bundled pocket model; not part of the installed package."""
