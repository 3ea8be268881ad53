"""What every test may use."""

pytest_plugins = [
    "tests.support.fixtures",
    "tests.support.services",
    "tests.support.database_fixtures",
    "tests.support.live_gateway",
    "tests.e2e.keeping",
]
