package countersign.policy.hours_test

import data.countersign.policy.hours

write(now) := {"phase": "call", "now": now, "operation": {"class": "write"}}

# Tuesday 2026-03-10 at 00:00 UTC, and the length of an hour.
midnight := 1773100800000000000

hour := 3600000000000

test_a_weekday_is_open_from_8_to_18 if {
	every at in [8, 12, 17] {
		hours.deny == set() with input as write(midnight + (at * hour)) with data.hours.zone as "UTC"
	}
	every at in [0, 7, 18, 23] {
		count(hours.deny) == 1 with input as write(midnight + (at * hour)) with data.hours.zone as "UTC"
	}
}

test_a_saturday_is_closed if {
	saturday := midnight + ((24 * 4) * hour)
	count(hours.deny) == 1 with input as write(saturday + (12 * hour)) with data.hours.zone as "UTC"
}

test_the_zone_counts if {
	hours.deny == set() with input as write(midnight + (7 * hour)) with data.hours.zone as "Europe/Berlin"
}

test_reads_pass_at_night if {
	hours.deny == set() with input as {"phase": "call", "now": midnight, "operation": {"class": "read"}}
		with data.hours.zone as "UTC"
}
