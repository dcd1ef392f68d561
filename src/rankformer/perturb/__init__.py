"""In silico perturbation: what cells' embeddings do when genes are taken out or moved."""
