"""Virtual time: the same journeys, stations and plan, simulated."""
