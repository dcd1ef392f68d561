"""What genes do to each other in a cell state, as a model sees it; what is measured on genes."""
