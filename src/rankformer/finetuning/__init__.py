"""Fine-tuning on labels, and predictions."""
