"""Real time: the journeys of a plan as HTTP requests at their intended starts."""
