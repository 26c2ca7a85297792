"""What `answers` consists of: the forms of answers and their comparison."""
