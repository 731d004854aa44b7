"""What the carried calendar costs, and that it keeps what it was told.

`heartbeats` holds large files against small ones, and the calendar in process against the same one over HTTP;
`expansion` expands plans, `hammer` has several processes write into one file at once. `files` fills calendars, `server`
serves one in a process of its own, and `report` tells.
"""
