#!/usr/bin/env python3
"""Occurrences of cron expressions by brute force, minute by minute, with Python's own time zones.

Prints the table of OccurrenceTests. The rule: a wall time counts the first time the clock shows it; wall times that
are skipped count once, at the first minute after the gap, unless the expression names every hour.
"""
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

CASES = [
    ("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00Z", 4),
    ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", 3),
    ("*/20 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", 3),
    ("0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00Z", 3),
    ("30 * * * *", "Europe/Berlin", "2026-03-28T23:45Z", 4),
    ("30 * * * *", "Europe/Berlin", "2026-10-24T23:45Z", 4),
    ("0 */2 * * *", "Europe/Berlin", "2026-03-28T22:30Z", 4),
    ("0 0 * * *", "America/Sao_Paulo", "2018-11-02T12:00Z", 4),
    ("30 23 * * *", "America/Sao_Paulo", "2019-02-15T12:00Z", 3),
    ("0 0 * * *", "Africa/Cairo", "2024-04-24T12:00Z", 3),
    ("30 23 * * *", "Africa/Cairo", "2024-10-30T12:00Z", 3),
    ("15 0 * * *", "Asia/Beirut", "2024-03-29T12:00Z", 3),
    ("45 23 * * *", "Asia/Beirut", "2024-10-25T12:00Z", 3),
    ("10 2 * * *", "Australia/Lord_Howe", "2026-10-02T12:00Z", 3),
    ("40 1 * * *", "Australia/Lord_Howe", "2026-04-03T12:00Z", 3),
    ("*/15 * * * *", "Australia/Lord_Howe", "2026-04-04T14:10Z", 6),
    ("0 9 * * 1-5", "Asia/Kolkata", "2026-11-20T12:00Z", 2),
    ("0 12 30 12 *", "Pacific/Apia", "2010-12-31T12:00Z", 2),
    ("59 23 31 12 *", "Asia/Kathmandu", "2026-12-31T12:00Z", 2),
    ("0 0 29 2 *", "UTC", "2096-01-01T00:00Z", 2),
    ("0 0 13 * 5", "UTC", "2026-11-01T00:00Z", 4),
    ("0 0 */9 * 1", "UTC", "2026-01-01T00:00Z", 3),
]


def field(text, low, high):
    values = set()
    for part in text.split(","):
        base, _, step = part.partition("/")
        if base == "*":
            first, last = low, high
        else:
            first, _, last = base.partition("-")
            first, last = int(first), int(last or first)
        values |= set(range(first, last + 1, int(step or 1)))
    return values


def matcher(text):
    words = text.split()
    minutes, hours, days, months, weekdays = (
        field(word, low, high) for word, (low, high) in zip(words, [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]))
    either = not words[2].startswith("*") and not words[4].startswith("*")

    def matches(wall):
        if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
            return False
        day = wall.day in days
        weekday = wall.isoweekday() % 7 in weekdays or (wall.isoweekday() == 7 and 7 in weekdays)
        return (day or weekday) if either else (day and weekday)

    return matches, len(hours) == 24


def occurrences(text, zone, start, count):
    matches, every_hour = matcher(text)
    minute = timedelta(minutes=1)
    moment = start - timedelta(days=2)
    seen, found, previous, fired = set(), [], None, set()
    while len(found) < count:
        wall = moment.astimezone(zone).replace(tzinfo=None)
        due = matches(wall) and wall not in seen
        if previous is not None and wall > previous + minute and not every_hour:
            skipped = previous + minute
            while skipped < wall:
                due = due or (matches(skipped) and wall not in seen)
                skipped += minute
        seen.add(wall)
        if due and moment > start:
            found.append((wall, moment))
        previous = wall if previous is None or wall > previous else previous
        moment += minute
    return found


for text, name, start, count in CASES:
    start_at = datetime.strptime(start, "%Y-%m-%dT%H:%MZ").replace(tzinfo=timezone.utc)
    rows = occurrences(text, ZoneInfo(name), start_at, count)
    print(f'        ("{text}", "{name}", "{start}",')
    print("         [" + ", ".join(f'"{wall:%Y-%m-%dT%H:%M} {moment:%Y-%m-%dT%H:%MZ}"' for wall, moment in rows) + "]),")
