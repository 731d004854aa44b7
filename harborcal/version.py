"""The version of this library, in a room of its own so that every door may tell it."""

__version__ = "0.1.0"
