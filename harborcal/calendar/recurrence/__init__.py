"""When a plan's slots begin: RFC 5545 recurrence, by the day.

Read in this order: `recurrence` (the values, and a date's occurrences), `rule` (the rule's text), `expansion` (the days
and times that a rule means), `walls` (wall times and zones). Pure: no clock, no lock, no input or output.
"""

from harborcal.calendar.recurrence.expansion import COUNT_HORIZON
from harborcal.calendar.recurrence.recurrence import Occurrence, Recurrence
from harborcal.calendar.recurrence.rule import MAX_COUNT, MAX_RULE_LENGTH
from harborcal.calendar.recurrence.walls import MAX_DATES

__all__ = ["COUNT_HORIZON", "MAX_COUNT", "MAX_DATES", "MAX_RULE_LENGTH", "Occurrence", "Recurrence"]
