#!/bin/sh
# An agent that dies. Nobody reports for it: its exit code and the tail of its standard error do.
echo "breaking on purpose" >&2
kill -9 $$
