# Nothing is changed outside of working hours: Monday to Friday, 8 to 18 o'clock in the zone of data.
package countersign.policy.hours

deny contains {"rule": "hours.closed", "reason": "changes are made on weekdays from 8 to 18 o'clock"} if {
	input.phase == "call"
	not input.operation.class == "read"
	not open
}

open if {
	time.weekday([input.now, data.hours.zone]) in {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday"}
	[hour, _, _] := time.clock([input.now, data.hours.zone])
	hour >= 8
	hour < 18
}
