"""Import of existing solutions and their labels."""
