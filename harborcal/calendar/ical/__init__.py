"""iCalendar (RFC 5545) in and out: bytes to values and back, without a database, a clock or a file."""
