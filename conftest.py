"""What every test may use."""

import pytest

# What they assert is said in full, as in a test.
pytest.register_assert_rewrite(
    "tests.faults.trial", "tests.faults.whole", "tests.support.browsing", "tests.support.surfaces"
)

pytest_plugins = [
    "tests.support.fixtures",
    "tests.support.services",
    "tests.support.redis_sets",
    "tests.support.database_fixtures",
    "tests.support.live_gateway",
    "tests.e2e.keeping",
]
