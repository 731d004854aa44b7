"""HTTP as harborcal makes it: one exchange within a total deadline, a cap on what is read, no redirects, no surprises.

`manners.py` is how an answer is read or refused, whatever carries the bytes; `over_requests.py` carries them with
requests, over the sockets of `punctual.py`, each of whose waits ends by one deadline.
"""
