"""Run AI agents by a calendar, from any synchronous Python program."""

__version__ = "0.1.0"
