"""What harborcal costs, measured beside its peers in one run: ``python -m bench`` (see ``--help``).

`plan` says how much is measured, `measurements` measures, `report` tells; `server` is the calendar that answers, in a
process of its own, `peers` are those who ask it, and `meter` holds the stop-watch. `calendar` measures the calendar
that harborcal carries.
"""
