"""The Python API: what `import stepmark` offers, in the order of a project."""
