"""From counts to tokens: the rank value encoding."""
