"""Labels of cells by their neighbours in a reference."""
