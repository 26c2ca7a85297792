"""Values of steps, computed from stored annotations: one SQL formula per file, no model calls."""
