"""What happens around a call, without Django or HTTP: one stage a file, their order in build.py."""
