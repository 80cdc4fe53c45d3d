"""Virtual time: the journeys of a plan through simulated stations."""
