"""Single sign-on for the admin by OpenID Connect: off unless it is configured, and never for `/v1`."""
