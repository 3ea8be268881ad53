"""The benchmark against other gateways: a mock upstream, load tools, and one table of ratios per run."""
