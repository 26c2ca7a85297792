"""What several formats share: conversations, right solutions, pairs of steps, trials."""
