"""The fault catalogue (docs/faults.md), each row shown by tests of its name, over sockets, end to end."""
