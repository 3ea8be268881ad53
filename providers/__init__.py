"""Where calls go: kinds, providers, credentials, the model catalogue, and the wire to them."""
