"""Every case in its short form: whether it runs and finds things right, not how fast."""
