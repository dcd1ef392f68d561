"""What a user asks for: joins data and model."""
