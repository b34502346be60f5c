"""Pure decisions on what is an alert and what is one incident, with a reason for each."""
