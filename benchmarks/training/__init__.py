"""Train process reward models on labels of several methods, and score them on other problems."""
