"""What the tests stand on: a scripted fake of the three providers, and real PostgreSQL and Valkey servers."""
