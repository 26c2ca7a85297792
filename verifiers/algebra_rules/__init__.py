"""What `algebra` consists of: statements of a step and the rules that decide them."""
