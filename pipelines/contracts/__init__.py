"""Contract tests for the authors of plugins: `stepmark test-plugin`."""
