"""Tests of the pipeline, most of them over a socket."""
