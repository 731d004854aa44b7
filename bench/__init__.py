"""What harborcal costs, measured beside its peers in one run: ``python -m bench`` (see ``--help``).

`plan` says how much is measured. `measurements` names what is: `heartbeats`, `tls`, `own`, `lateness`, `soak`, `codecs`
and `journal` each measure one thing, and `calendar` what harborcal carries. `server` is the calendar that answers, in
processes of its own that `serving` starts, `peers` are those who ask it, and `meter` holds the stop-watch.

`targets` holds the figures against what is wanted, `table` tells them to people, `report` writes them down. What was
written (`results`) is drawn by `plot`, and held against the last release's by `compare`.
"""
