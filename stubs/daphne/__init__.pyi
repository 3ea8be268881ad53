"""Of Daphne, which has no types: what this project uses."""
