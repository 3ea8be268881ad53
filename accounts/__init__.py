"""Who calls: teams and gateway keys."""
