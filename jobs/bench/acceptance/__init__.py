"""Everything that is to be measured on a new kind of device, in one run of under 8 minutes."""
