"""What `arithmetic` consists of: equations in running text and their comparison."""
