"""The project: settings, the two ways in, the servers, and the one place that constructs what lives long."""
