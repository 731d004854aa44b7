#!/bin/sh
# A shell script as an agent. Its message is on standard input; agent, slot and token are in its environment.
set -eu
read -r task
echo "working on: $task"
harborcal pause "waiting for a colleague"
harborcal resume
harborcal complete "wrote $HARBORCAL_CODE"
