"""Real time: consumers played against real services by Locust, in an open model."""
