"""Reaching a running scheduler from elsewhere: what one agent may see and say, with which token, and over which line.

`access.py` is what may be asked and said of one agent's slots, whoever carries it.
"""
