"""The parts of the fake upstream: the wire, the script steps, each provider's rules and answers."""
