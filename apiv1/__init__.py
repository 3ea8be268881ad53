"""The HTTP door: one small DRF view per endpoint, and the lean way to them."""
